// Istiod-translate answers with the configuration that istiod would send.
//
// It links istiod's own packages and runs its registries and generators in this process, without a cluster: one case
// as a JSON object per line on standard input, one answer per line on standard output, in the same order.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"istio.io/istio/pilot/pkg/features"
	"istio.io/istio/pkg/log"
	"istio.io/istio/pkg/test"
)

// A workload whose Envoy asks for its configuration; Key names it in the answer. Locality is region/zone/subzone and counts only where no Node
// gives one; Metadata is added to what the other fields say.
type workload struct {
	Key            string            `json:"key"`
	ID             string            `json:"id"`
	Type           string            `json:"type"`
	IP             string            `json:"ip"`
	Namespace      string            `json:"namespace"`
	Labels         map[string]string `json:"labels"`
	ServiceAccount string            `json:"serviceAccount"`
	Locality       string            `json:"locality"`
	Metadata       map[string]any    `json:"metadata"`
}

// A question is a case to translate, or resources of another translation to write as istiod's are written.
type question struct {
	translation
	Resources []json.RawMessage `json:"resources"`
}

// A case: the objects as YAML documents, the mesh configuration, and the workloads to translate for. Reviewed objects
// are validated and nothing else.
type translation struct {
	Kubernetes string          `json:"kubernetes"`
	Config     string          `json:"config"`
	Reviewed   string          `json:"reviewed"`
	Mesh       json.RawMessage `json:"mesh"`
	Proxies    []workload      `json:"proxies"`
}

// What one Envoy gets, each resource as protobuf's JSON with the names of the .proto files.
type snapshot struct {
	Clusters  []json.RawMessage `json:"clusters"`
	Endpoints []json.RawMessage `json:"endpoints"`
	Listeners []json.RawMessage `json:"listeners"`
	Routes    []json.RawMessage `json:"routes"`
}

type answer struct {
	review
	Proxies map[string]snapshot `json:"proxies,omitempty"`
	// The resources asked for, or what is wrong with each.
	Resources []canonical `json:"resources,omitempty"`
	Error     string      `json:"error,omitempty"`
}

func main() {
	quiet()
	// What a plain Envoy has no filters for.
	features.MetadataExchange = false
	features.ALPNFilter = false
	if err := serve(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func quiet() {
	options := log.DefaultOptions()
	options.SetDefaultOutputLevel(log.OverrideScopeName, log.NoneLevel)
	if err := log.Configure(options); err != nil {
		panic(err)
	}
}

func serve(in io.Reader, out io.Writer) error {
	lines := json.NewDecoder(bufio.NewReader(in))
	answers := json.NewEncoder(out)
	for {
		var asked question
		if err := lines.Decode(&asked); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("a line of standard input is no case: %w", err)
		}
		if err := answers.Encode(answerTo(asked)); err != nil {
			return err
		}
	}
}

func answerTo(asked question) (given answer) {
	if asked.Resources != nil {
		return answer{Resources: canonicals(asked.Resources)}
	}
	err := test.Wrap(func(t test.Failer) {
		// A panic of istiod's is an answer too; the next case gets a new istiod.
		defer func() {
			if reason := recover(); reason != nil {
				t.Fatalf("istiod panicked: %v", reason)
			}
		}()
		given = translate(t, asked.translation)
	})
	if err != nil {
		return answer{Error: err.Error()}
	}
	return given
}
