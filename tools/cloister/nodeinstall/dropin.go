package nodeinstall

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"text/template"

	"github.com/pelletier/go-toml/v2"
)

// Plugin ids of containerd's configuration.
const (
	criV2      = "io.containerd.grpc.v1.cri"
	criRuntime = "io.containerd.cri.v1.runtime"
	criImages  = "io.containerd.cri.v1.images"
	transfer   = "io.containerd.transfer.v1.local"
	diffs      = "io.containerd.service.v1.diff-service"
)

var dropInHead = template.Must(template.New("drop-in").Parse(`# Written by "cloister node install" for containerd {{.Major}}. It is removed by "cloister node uninstall" as long as nobody changed it.
#
# Sections of plugins that {{.Main}} or its imports configure are repeated here with what Cloister adds, because not every version of containerd
# merges them. After a change there, run "cloister node install" again; "cloister node check" says when that is due.
version = {{.Version}}

# Image layers become disks with dm-verity as they are unpacked: one daemon, seen as a snapshotter and as a differ.
[proxy_plugins.` + snapshotter + `]
  type = "snapshot"
  address = "{{.Socket}}"
  capabilities = ["rebase"]
  [proxy_plugins.` + snapshotter + `.exports]
    root = "{{.LayersRoot}}"

[proxy_plugins.` + differ + `]
  type = "diff"
  address = "{{.Socket}}"

`))

// Result is what Render makes of a configuration.
type rendered struct {
	text  []byte
	notes []string // what the operator should know
}

// render writes the drop-in for a configuration.
func (t *tree) render(o Options) (*rendered, error) {
	if err := t.free(); err != nil {
		return nil, err
	}
	r := &rendered{}
	plugins := map[string]any{}
	steps := []func(Options, map[string]any, *rendered) error{t.addTransfer}
	if t.main.version == 2 {
		steps = append(steps, t.addCRI2)
	} else {
		steps = append(steps, t.addCRI)
	}
	for _, step := range steps {
		if err := step(o, plugins, r); err != nil {
			return nil, err
		}
	}
	var b bytes.Buffer
	major := "2.x"
	if t.main.version == 2 {
		major = "1.7"
	}
	if err := dropInHead.Execute(&b, struct {
		Options
		Main, Major string
		Version     int
	}{o, o.Containerd, major, t.main.version}); err != nil {
		return nil, err
	}
	enc := toml.NewEncoder(&b)
	enc.SetIndentTables(true)
	if err := enc.Encode(map[string]any{"plugins": plugins}); err != nil {
		return nil, fmt.Errorf("write drop-in: %w", err)
	}
	r.text = b.Bytes()
	r.notes = append(r.notes, t.disabled()...)
	return r, nil
}

// free sees to it that nobody else has our names.
func (t *tree) free() error {
	for _, f := range t.files {
		for _, name := range []string{snapshotter, differ} {
			p, err := table(f.values, f.path, "proxy_plugins", name)
			if err != nil {
				return err
			}
			if p != nil {
				return refuse("take it out there: the installation has its own", "%q configures a proxy plugin %q already", f.path, name)
			}
		}
	}
	return nil
}

// disabled warns of a CRI plugin that is off, as some packages ship it.
func (t *tree) disabled() []string {
	for _, f := range t.files {
		list, _ := f.values["disabled_plugins"].([]any)
		for _, v := range list {
			if s, ok := v.(string); ok && slices.Contains([]string{"cri", criV2, criRuntime, criImages}, s) {
				return []string{fmt.Sprintf("%q disables plugin %q: ctr works, Kubernetes does not until that is taken out", f.path, s)}
			}
		}
	}
	return nil
}

// addTransfer lets pulls through the transfer service unpack with our snapshotter. A list replaces the default one, so that is written out.
func (t *tree) addTransfer(o Options, plugins map[string]any, r *rendered) error {
	s, err := t.plugin(transfer)
	if err != nil {
		return err
	}
	list, err := tables(s["unpack_config"], transfer, "unpack_config")
	if err != nil {
		return err
	}
	if s["unpack_config"] == nil {
		list = append(list, map[string]any{"platform": platform(), "snapshotter": "overlayfs", "differ": "walking"})
		if !before(o.Version, 2, 4) && t.main.version > 2 && o.Version != "" {
			list = append(list, map[string]any{"platform": "linux(+erofs)/" + strings.TrimPrefix(platform(), "linux/"), "snapshotter": "erofs", "differ": "erofs", "optional": true})
		} else if t.main.version > 2 {
			r.notes = append(r.notes, "containerd's own erofs snapshotter is left out of unpack_config: this version may not know it, or is not known itself")
		}
	}
	list = slices.DeleteFunc(list, func(v any) bool { return v.(map[string]any)["snapshotter"] == snapshotter })
	s["unpack_config"] = append(list, map[string]any{"platform": platform(), "snapshotter": snapshotter, "differ": differ})
	plugins[transfer] = s
	return nil
}

// tables checks that a value is a list of tables.
func tables(v any, where, key string) ([]any, error) {
	if v == nil {
		return nil, nil
	}
	list, ok := v.([]any)
	if !ok {
		return nil, refuse("correct it", "plugin %q: %s is %T, want a list of tables", where, key, v)
	}
	for _, e := range list {
		if _, ok := e.(map[string]any); !ok {
			return nil, refuse("correct it", "plugin %q: %s has an entry that is %T, want a table", where, key, e)
		}
	}
	return slices.Clone(list), nil
}

// annotations are the pod annotations that the shim reads.
var annotations = []any{"io.katacontainers.*", "io.cloister.*"}

// handler is the runtime handler's own table.
func handler(o Options) map[string]any {
	return map[string]any{
		"runtime_type": runtimeType, "runtime_path": o.Prefix + "/bin/" + Programs[0], "snapshotter": snapshotter,
		"pod_annotations": annotations, "container_annotations": annotations,
		// A VM has none of the host's devices to give.
		"privileged_without_host_devices": true,
	}
}

// addHandler puts the handler into a CRI section.
func (t *tree) addHandler(o Options, s map[string]any, id string, h map[string]any) error {
	runtimes, err := sub(s, id, "containerd", "runtimes")
	if err != nil {
		return err
	}
	if have, ok := runtimes[o.Handler].(map[string]any); ok && have["runtime_type"] != runtimeType {
		return refuse("choose another name with --handler", "containerd has a runtime handler %q already, of type %v", o.Handler, have["runtime_type"])
	}
	if len(runtimes) == 0 {
		// containerd 1.7 takes a table that is there for all there is.
		runtimes["runc"] = map[string]any{"runtime_type": "io.containerd.runc.v2"}
	}
	runtimes[o.Handler] = h
	return nil
}

func (t *tree) addCRI2(o Options, plugins map[string]any, r *rendered) error {
	s, err := t.plugin(criV2)
	if err != nil {
		return err
	}
	if o.Sandboxer != "podsandbox" {
		return refuse("use --sandboxer podsandbox, or migrate the configuration: containerd config migrate", "sandboxer %q needs a configuration of version 3, %q has 2", o.Sandboxer, o.Containerd)
	}
	if err := t.addHandler(o, s, criV2, handler(o)); err != nil {
		return err
	}
	plugins[criV2] = s
	return t.addDiffs(plugins, r, "pulls of CRI go past the transfer service in containerd 1.7")
}

func (t *tree) addCRI(o Options, plugins map[string]any, r *rendered) error {
	s, err := t.plugin(criRuntime)
	if err != nil {
		return err
	}
	h := handler(o)
	h["sandboxer"] = o.Sandboxer
	if err := t.addHandler(o, s, criRuntime, h); err != nil {
		return err
	}
	plugins[criRuntime] = s
	images, err := t.plugin(criImages)
	if err != nil {
		return err
	}
	platforms, err := sub(images, criImages, "runtime_platforms")
	if err != nil {
		return err
	}
	platforms[o.Handler] = map[string]any{"platform": platform(), "snapshotter": snapshotter}
	plugins[criImages] = images
	if images["discard_unpacked_layers"] == true {
		r.notes = append(r.notes, "discard_unpacked_layers is set: pods whose policy names the roots of the other layer format do not start, since that is made of the blob")
	}
	if why := localPull(o.Version, images); why != "" {
		return t.addDiffs(plugins, r, why)
	}
	return nil
}

// localPull says why containerd 2 would not pull through the transfer service, as its CRI plugin decides it.
func localPull(version string, images map[string]any) string {
	filled := func(keys ...string) bool {
		m, err := table(images, "", keys...)
		return err == nil && len(m) > 0
	}
	n, hasDownloads := images["max_concurrent_downloads"].(int64)
	switch {
	case before(version, 2, 1):
		return "pulls of CRI go past the transfer service before containerd 2.1"
	case images["use_local_image_pull"] == true:
		return "use_local_image_pull is set"
	case images["disable_snapshot_annotations"] == false:
		return "disable_snapshot_annotations is off, and so CRI pulls past the transfer service"
	case images["discard_unpacked_layers"] == true:
		return "discard_unpacked_layers is set, and so CRI pulls past the transfer service"
	case images["image_pull_with_sync_fs"] == true:
		return "image_pull_with_sync_fs is set, and so CRI pulls past the transfer service"
	case hasDownloads && n != 3:
		return "max_concurrent_downloads is not 3, and so CRI pulls past the transfer service"
	case filled("registry", "mirrors") || filled("registry", "configs") || filled("registry", "auths"):
		return "registry mirrors, configs or auths are set, and so CRI pulls past the transfer service"
	}
	return ""
}

// addDiffs puts our differ before the others, for pulls that ask the diff service. It turns down what is not ours.
func (t *tree) addDiffs(plugins map[string]any, r *rendered, why string) error {
	s, err := t.plugin(diffs)
	if err != nil {
		return err
	}
	list, ok := s["default"].([]any)
	if s["default"] != nil && !ok {
		return refuse("correct it", "plugin %q: default is %T, want a list", diffs, s["default"])
	}
	if list == nil {
		list = []any{"walking"}
	}
	list = slices.DeleteFunc(slices.Clone(list), func(v any) bool { return v == differ })
	s["default"] = append([]any{differ}, list...)
	plugins[diffs] = s
	r.notes = append(r.notes, why+": cloister-snapshotter is asked first for every image, so while it is down nothing is pulled, for other runtimes neither")
	return nil
}
