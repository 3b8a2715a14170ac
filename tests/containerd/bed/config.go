package bed

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"
)

// Handlers are the runtime handlers of a node, as a pod's RuntimeClass names them.
const (
	HandlerCloister = "cloister"         // pods with a pause container, through the task API: containerd's default
	HandlerSandbox  = "cloister-sandbox" // pods through the sandbox API
	HandlerCrun     = "crun"             // no VM: the reference that the harness itself is tested with
)

// containerdConfig is the node's containerd. Every path and socket is its own.
var containerdConfig = template.Must(template.New("config.toml").Parse(`version = 3
root = "{{.Dir}}/root"
state = "{{.Dir}}/state"
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp"]

[grpc]
  address = "{{.Dir}}/containerd.sock"
[ttrpc]
  address = "{{.Dir}}/containerd.sock.ttrpc"
[debug]
  level = "debug"

[proxy_plugins.cloister]
  type = "snapshot"
  address = "{{.Dir}}/snapshotter.sock"
  platform = "linux/amd64"
  capabilities = []
[proxy_plugins.cloister-diff]
  type = "diff"
  address = "{{.Dir}}/snapshotter.sock"
  platform = "linux/amd64"

[plugins."io.containerd.shim.v1.manager"]
  socket_dir = "{{.Dir}}/s"
  env = ["CLOISTER_NODE_CONFIG={{.Dir}}/node.toml", "{{.Mark}}"]

[[plugins."io.containerd.transfer.v1.local".unpack_config]]
  platform = "linux/amd64"
  snapshotter = "overlayfs"
  differ = "walking"
[[plugins."io.containerd.transfer.v1.local".unpack_config]]
  platform = "linux/amd64"
  snapshotter = "cloister"
  differ = "cloister-diff"
[plugins."io.containerd.transfer.v1.local"]
  config_path = "{{.Dir}}/certs.d"

[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "{{.Pause}}"
  [plugins."io.containerd.cri.v1.images".registry]
    config_path = "{{.Dir}}/certs.d"

[plugins."io.containerd.cri.v1.runtime"]
  netns_mounts_under_state_dir = true
  enable_unprivileged_ports = false
  enable_unprivileged_icmp = false
  disable_apparmor = true
  ignore_image_defined_volumes = true
  cdi_spec_dirs = []
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{{.Others}}"]
    conf_dir = "{{.Dir}}/cni"
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "crun"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.crun]
      runtime_type = "io.containerd.runc.v2"
      snapshotter = "overlayfs"
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.crun.options]
        BinaryName = "{{.Dir}}/crun"
        Root = "{{.Dir}}/crun-root"
{{- range .Ours}}
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.{{.Name}}]
      runtime_type = "io.containerd.cloister.v2"
      sandboxer = "{{.Sandboxer}}"
      snapshotter = "cloister"
      privileged_without_host_devices = true
      pod_annotations = ["io.cloister.*", "io.katacontainers.*"]
      container_annotations = ["io.cloister.*", "io.katacontainers.*"]
{{- end}}

[plugins."io.containerd.grpc.v1.cri"]
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
`))

type handler struct{ Name, Sandboxer string }

var ourHandlers = []handler{
	{HandlerCloister, "podsandbox"},
	{HandlerSandbox, "shim"},
}

// crunWrapper runs Debian's crun. It does not know the newest version of the specification, whose new parts no test uses, and takes no hybrid cgroups: it sees
// version 2 alone, and is kept from using it, because there are no controllers in it.
const crunWrapper = `#!/bin/sh
previous=
for a in "$@"; do
  [ "$previous" = --bundle ] && sed -i 's/"ociVersion":"[^"]*"/"ociVersion":"1.0.2"/; s/"oomScoreAdj":-[0-9]*/"oomScoreAdj":0/' "$a/config.json"
  previous=$a
done
exec unshare -m --propagation slave sh -c 'umount -l /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec crun --cgroup-manager=disabled "$@"' crun "$@"
`

func (n *Node) writeConfig(o Options) error {
	if err := os.MkdirAll(filepath.Join(n.Dir, "cni"), 0o755); err != nil {
		return err
	}
	var config strings.Builder
	values := struct {
		Dir, Others, Mark, Pause string
		Ours                     []handler
	}{n.Dir, n.programs.Others, n.mark, Ref("pause"), ourHandlers}
	if err := containerdConfig.Execute(&config, values); err != nil {
		return err
	}
	certs := filepath.Join(n.Dir, "certs.d", Registry)
	if err := os.MkdirAll(certs, 0o755); err != nil {
		return err
	}
	hosts := fmt.Sprintf("server = \"http://%s\"\n[host.\"http://%[1]s\"]\n  capabilities = [\"pull\", \"resolve\"]\n", n.registry.addr)
	for _, f := range []struct {
		path, text string
		mode       os.FileMode
	}{
		{"config.toml", config.String(), 0o644},
		{"certs.d/" + Registry + "/hosts.toml", hosts, 0o644},
		{"crun", crunWrapper, 0o755},
		{"node.toml", n.nodeConfig(o), 0o644},
		{"cni/10-bed.conflist", n.cniConfig(), 0o644},
	} {
		if err := os.WriteFile(filepath.Join(n.Dir, f.path), []byte(f.text), f.mode); err != nil {
			return err
		}
	}
	return nil
}

// nodeConfig is the shim's own configuration.
func (n *Node) nodeConfig(o Options) string {
	text := fmt.Sprintf(`guest = %q
kernel = %q
tee = "emulated"
emulator = %q
accel = "tcg"
memory_mib = %d
snapshotter = %q
state_dir = %q
metrics_dir = %q
vmm_user = %d
`, n.programs.Guest, n.programs.Kernel, n.programs.TEE, memoryMiB, n.Dir+"/snapshotter.sock", n.Dir+"/pods", n.Dir+"/metrics", vmmUser)
	return text + o.NodeConfig
}

const (
	// memoryMiB is what a guest needs besides its containers' limits.
	memoryMiB = 384
	// vmmUser owns nothing on the machine.
	vmmUser = 64055
)

// cniConfig joins pods by a bridge of the node's own; the node itself is their gateway.
func (n *Node) cniConfig() string {
	plugin := map[string]any{
		"type": "bridge", "bridge": n.bridge, "isGateway": true, "isDefaultGateway": true, "hairpinMode": true, "ipMasq": false, "mtu": 1460,
		"ipam": map[string]any{
			"type": "host-local", "dataDir": n.Dir + "/ipam",
			"ranges": [][]map[string]any{{{"subnet": n.subnet + ".0/24"}}, {{"subnet": n.subnet6 + "::/64"}}},
		},
	}
	conf := map[string]any{
		"cniVersion": "1.0.0", "name": "bed-" + n.bridge,
		"plugins": []any{plugin, map[string]any{"type": "portmap", "capabilities": map[string]bool{"portMappings": true}}},
	}
	text, err := json.MarshalIndent(conf, "", "  ")
	if err != nil {
		panic(err) // nothing in it can fail
	}
	return string(text)
}
