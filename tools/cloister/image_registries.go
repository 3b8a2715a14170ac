package main

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cloister-cc/cloister/tools/cloister/images"
)

// registryFlags say how registries and containerd are asked.
type registryFlags struct {
	namespace      string
	mirrors, plain []string
}

func (r *registryFlags) bind(f *pflag.FlagSet) {
	f.StringVar(&r.namespace, "containerd-namespace", "", "where in containerd (default $CONTAINERD_NAMESPACE, or k8s.io and default)")
	f.StringArrayVar(&r.mirrors, "mirror", nil, "REGISTRY=MIRROR[/PREFIX], asked before the registry; may be given again")
	f.StringArrayVar(&r.plain, "plain-http", nil, "registry (HOST[:PORT]) that may be asked without TLS; may be given again")
}

// apply gives the flags to the resolver of images.
func (r *registryFlags) apply(cmd *cobra.Command, o *images.Options) error {
	o.Namespace, o.PlainHTTP = r.namespace, r.plain
	for _, m := range r.mirrors {
		registry, mirror, ok := strings.Cut(m, "=")
		if !ok || registry == "" || mirror == "" {
			return usage(cmd, "--mirror is %.200q, want REGISTRY=MIRROR, e.g. docker.io=mirror.example/hub", m)
		}
		if o.Mirrors == nil {
			o.Mirrors = map[string][]string{}
		}
		o.Mirrors[registry] = append(o.Mirrors[registry], mirror)
	}
	return nil
}
