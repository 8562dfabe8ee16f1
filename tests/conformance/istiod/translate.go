package main

import (
	"encoding/json"
	"fmt"
	"maps"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"istio.io/api/label"
	meshconfig "istio.io/api/mesh/v1alpha1"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/pkg/networking/util"
	labelutil "istio.io/istio/pilot/pkg/serviceregistry/util/label"
	"istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/config/mesh"
	pm "istio.io/istio/pkg/model"
	"istio.io/istio/pkg/test"
)

const (
	domain  = "cluster.local"
	version = "1.32.0"
)

func translate(t test.Failer, asked translation) answer {
	settings := mesh.DefaultMeshConfig()
	if len(asked.Mesh) > 0 && string(asked.Mesh) != "null" {
		settings = configured(t, string(asked.Mesh), settings)
	}
	configs, said := admitted(t, asked.Config)
	_, aside := admitted(t, asked.Reviewed)
	maps.Copy(said.Refused, aside.Refused)
	maps.Copy(said.Warned, aside.Warned)
	server := xds.NewFakeDiscoveryServer(t, xds.FakeOptions{
		KubernetesObjectString: asked.Kubernetes,
		Configs:                configs,
		MeshConfig:             settings,
	})
	given := answer{Proxies: make(map[string]snapshot, len(asked.Proxies)), review: said}
	for _, one := range asked.Proxies {
		given.Proxies[one.Key] = translateFor(t, server, one)
	}
	return given
}

func configured(t test.Failer, text string, defaults *meshconfig.MeshConfig) *meshconfig.MeshConfig {
	settings, err := mesh.ApplyMeshConfig(text, defaults)
	if err != nil {
		t.Fatalf("the mesh configuration is not one: %v", err)
	}
	return settings
}

func translateFor(t test.Failer, server *xds.FakeDiscoveryServer, one workload) snapshot {
	proxy := connected(t, server, one)
	listeners := server.Listeners(proxy)
	return snapshot{
		Clusters:  resources(t, server.Clusters(proxy)),
		Endpoints: resources(t, server.Endpoints(proxy)),
		Listeners: resources(t, listeners),
		Routes:    resources(t, server.RoutesFromListeners(proxy, listeners)),
	}
}

// What istiod makes of a proxy that connects (DiscoveryServer.initProxyMetadata and computeProxyState).
func connected(t test.Failer, server *xds.FakeDiscoveryServer, one workload) *model.Proxy {
	proxy, err := model.ParseServiceNodeWithMetadata(nodeID(one), metadata(t, one))
	if err != nil {
		t.Fatalf("proxy %s: %v", one.ID, err)
	}
	proxy.ConfigNamespace = model.GetProxyConfigNamespace(proxy)
	proxy.XdsNode = &core.Node{Id: nodeID(one), Locality: util.ConvertLocality(one.Locality)}
	proxy.SetWorkloadLabels(server.Env())
	setLocality(proxy)
	proxy.LastPushContext = server.PushContext()
	return server.SetupProxy(proxy)
}

func nodeID(one workload) string {
	return fmt.Sprintf("%s~%s~%s.%s~%s.svc.%s", one.Type, one.IP, one.ID, one.Namespace, one.Namespace, domain)
}

func metadata(t test.Failer, one workload) *model.NodeMetadata {
	fields := map[string]any{
		"CLUSTER_ID":      "Kubernetes",
		"INSTANCE_IPS":    one.IP,
		"ISTIO_VERSION":   version,
		"LABELS":          one.Labels,
		"MESH_ID":         domain,
		"NAMESPACE":       one.Namespace,
		"SERVICE_ACCOUNT": one.ServiceAccount,
	}
	maps.Copy(fields, one.Metadata)
	text, err := json.Marshal(fields)
	if err != nil {
		t.Fatalf("proxy %s: %v", one.ID, err)
	}
	parsed := &model.NodeMetadata{}
	if err := json.Unmarshal(text, parsed); err != nil {
		t.Fatalf("the metadata of proxy %s: %v", one.ID, err)
	}
	parsed.Raw = fields
	return parsed
}

// The locality of the Node, which the registry has put into the labels, else the one the proxy says it has.
func setLocality(proxy *model.Proxy) {
	region, zone := proxy.Labels[labelutil.LabelTopologyRegion], proxy.Labels[labelutil.LabelTopologyZone]
	subzone := proxy.Labels[label.TopologySubzone.Name]
	proxy.Locality = proxy.XdsNode.Locality
	if region != "" || zone != "" || subzone != "" {
		proxy.Locality = &core.Locality{Region: region, Zone: zone, SubZone: subzone}
	} else if written := pm.GetLocalityLabel(proxy.Labels); written != "" {
		proxy.Locality = util.ConvertLocality(written)
	}
	proxy.Labels = labelutil.AugmentLabels(
		proxy.Labels,
		proxy.Metadata.ClusterID,
		util.LocalityToString(proxy.Locality),
		proxy.GetNodeName(),
		proxy.Metadata.Network,
	)
}

func resources[M proto.Message](t test.Failer, messages []M) []json.RawMessage {
	texts := make([]json.RawMessage, 0, len(messages))
	for _, message := range messages {
		text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(message)
		if err != nil {
			t.Fatalf("%T: %v", message, err)
		}
		texts = append(texts, text)
	}
	return texts
}
