package main

import (
	"bytes"
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/util/yaml"

	"istio.io/istio/pilot/pkg/config/kube/crd"
	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/schema/collections"
	"istio.io/istio/pkg/config/schema/resource"
	"istio.io/istio/pkg/test"
)

// What istiod's validation webhook says about the Istio objects, by "Kind namespace/name".
type review struct {
	Refused map[string]string `json:"refused"`
	Warned  map[string]string `json:"warned"`
}

// The Istio objects that istiod's validation lets pass, and what it says about them.
func admitted(t test.Failer, documents string) ([]config.Config, review) {
	said := review{Refused: map[string]string{}, Warned: map[string]string{}}
	var configs []config.Config
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader([]byte(documents)), 1<<16)
	for {
		var object crd.IstioKind
		if err := decoder.Decode(&object); err == io.EOF {
			return configs, said
		} else if err != nil {
			t.Fatalf("the Istio objects cannot be read: %v", err)
		}
		if object.Kind == "" {
			continue
		}
		name := fmt.Sprintf("%s %s/%s", object.Kind, object.Namespace, object.Name)
		made, warning, err := admit(&object)
		if warning != nil {
			said.Warned[name] = warning.Error()
		}
		if err != nil {
			said.Refused[name] = err.Error()
		} else {
			configs = append(configs, *made)
		}
	}
}

func admit(object *crd.IstioKind) (*config.Config, error, error) {
	kind := object.GroupVersionKind()
	schema, known := collections.Pilot.FindByGroupVersionAliasesKind(resource.FromKubernetesGVK(&kind))
	if !known {
		return nil, nil, fmt.Errorf("istiod has no kind %v", kind)
	}
	made, err := crd.ConvertObject(schema, object, domain)
	if err != nil {
		return nil, nil, err
	}
	warning, err := schema.ValidateConfig(*made)
	return made, warning, err
}
