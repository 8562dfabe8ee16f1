package main

import (
	"encoding/json"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"

	// Types that Envoy knows and istiod does not use: they have to be linked to be read.
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stats/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_to_metadata/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_filter_state/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_metadata/v3"
)

// A resource as protobuf writes it: without defaults, numbers and durations in one notation.
type canonical struct {
	Resource json.RawMessage `json:"resource,omitempty"`
	Error    string          `json:"error,omitempty"`
}

func canonicals(texts []json.RawMessage) []canonical {
	made := make([]canonical, 0, len(texts))
	for _, text := range texts {
		made = append(made, canonicalOf(text))
	}
	return made
}

// Reads a resource with its @type and writes it again; an unknown field is an error, as it is to Envoy.
func canonicalOf(text json.RawMessage) canonical {
	packed := &anypb.Any{}
	if err := protojson.Unmarshal(text, packed); err != nil {
		return canonical{Error: err.Error()}
	}
	message, err := packed.UnmarshalNew()
	if err != nil {
		return canonical{Error: err.Error()}
	}
	if rules, known := message.(interface{ ValidateAll() error }); known {
		if err := rules.ValidateAll(); err != nil {
			return canonical{Error: err.Error()}
		}
	}
	written, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(message)
	if err != nil {
		return canonical{Error: err.Error()}
	}
	return canonical{Resource: written}
}
