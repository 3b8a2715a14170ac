package spec

import (
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cloister-cc/cloister/agent/api"
)

// shmPath is Kata's name for the pod's shared memory; the agent has its own.
const shmPath = "/run/kata-containers/sandbox/shm"

// mounts are the request's. Names that Fit or the caller gave already are kept.
func (in *Input) mounts() ([]*api.Mount, []Note, error) {
	var out []*api.Mount
	var notes []Note
	for _, m := range in.Spec.Mounts {
		if len(m.UIDMappings) != 0 || len(m.GIDMappings) != 0 {
			return nil, nil, refuse(mountField(m), "mounts with id mappings are not supported")
		}
		v := VolumeOf(m, in.Spec.Annotations)
		sent := &api.Mount{Destination: m.Destination, Source: m.Source, Type: m.Type, Options: slices.Clone(m.Options)}
		switch v.Kind {
		case Guest:
			if m.Destination == "/dev/shm" {
				sent.Source = shmPath
			}
		case Pod:
			continue // the agent's own are in place
		case Directory:
			sent.Source = v.Default()
		case Copy:
			source, ok := in.Copies[m.Destination]
			if !ok {
				return nil, nil, refuse(mountField(m), "its files were not copied")
			}
			sent.Source = source
		case Image:
			notes = append(notes, Note{mountField(m), "left out", "the image's own directory, in the container's writable layer, takes its place"})
			continue
		case Refused:
			return nil, nil, refuse(mountField(m), "%s", v.Why)
		}
		if v.Kind == Directory || v.Kind == Copy {
			sent.Type = "bind"
		}
		sent.Options = bindOptions(sent.Type, sent.Options)
		out = append(out, sent)
	}
	grants, err := in.grants()
	return append(out, grants...), notes, err
}

// bindOptions spells a bind's options as the agent does: a copy has nothing mounted below it, so recursively read-only is read-only.
func bindOptions(typ string, options []string) []string {
	if typ != "bind" {
		return options
	}
	for i, o := range options {
		switch o {
		case "rro":
			options[i] = "ro"
		case "rrw":
			options[i] = "rw"
		}
	}
	return options
}

// grantMounts are what the agent gives a container by name.
var grantMounts = map[string]*api.Mount{
	"attest": {Destination: "/run/cloister/attest", Source: grantPrefix + "attest", Type: "bind", Options: []string{"rbind", "rprivate", "ro"}},
}

// grants are the mounts that the pod's annotation for this container asks for: Kubernetes has no word for them.
func (in *Input) grants() ([]*api.Mount, error) {
	name := in.Spec.Annotations[annotationName]
	value := in.Spec.Annotations[annotationGrants+name]
	if name == "" || value == "" || in.Sandbox {
		return nil, nil
	}
	var out []*api.Mount
	for grant := range strings.SplitSeq(value, ",") {
		grant = strings.TrimSpace(grant)
		m, ok := grantMounts[grant]
		field := "Annotations[" + clip(annotationGrants+name) + "]"
		if !ok {
			return nil, refuse(field, "the grant %q is not known", clip(grant))
		}
		if slices.ContainsFunc(in.Spec.Mounts, func(o specs.Mount) bool { return o.Destination == m.Destination }) {
			return nil, refuse(field, "something is mounted at %s already", m.Destination)
		}
		out = append(out, &api.Mount{Destination: m.Destination, Source: m.Source, Type: m.Type, Options: slices.Clone(m.Options)})
	}
	return out, nil
}
