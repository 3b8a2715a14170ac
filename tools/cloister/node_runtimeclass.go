package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/cloister-cc/cloister/shim/node"
)

// What a pod costs beside its own limits and the guest's memory: QEMU and the shim.
const (
	hostMemoryMiB = 96
	hostCPUMilli  = 100
)

// nodeLabel is on nodes that have an installation; who installs puts it there.
const nodeLabel = "cloister.cc/runtime"

func newNodeRuntimeClassCommand() *cobra.Command {
	var config, name, handler string
	cmd := &cobra.Command{
		Use:   "runtimeclass",
		Short: "Print a RuntimeClass for nodes configured as this one",
		Long: `RuntimeClass prints the manifest by which pods ask for this runtime. Its overhead is what Kubernetes adds to each pod for scheduling, quota and
the pod's cgroup: memory_mib of node.toml for the guest, and ` + fmt.Sprint(hostMemoryMiB) + ` MiB and ` + fmt.Sprint(hostCPUMilli) + `m of a processor for QEMU and the shim.`,
		Example: `  cloister node runtimeclass | kubectl apply -f -`,
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := node.Load(config)
			if err != nil {
				return fmt.Errorf("node runtimeclass: %w", err)
			}
			text, err := runtimeClass(&c, name, handler)
			if err != nil {
				return fmt.Errorf("node runtimeclass: %w", err)
			}
			_, err = io.WriteString(cmd.OutOrStdout(), text)
			return err
		},
	}
	cmd.Flags().StringVar(&config, "config", "", "the node's configuration (default "+node.Path+")")
	cmd.Flags().StringVar(&name, "name", "cloister", "name of the RuntimeClass")
	cmd.Flags().StringVar(&handler, "handler", "cloister", "runtime handler, as given to \"node install\"")
	return cmd
}

func runtimeClass(c *node.Config, name, handler string) (string, error) {
	class := nodev1.RuntimeClass{
		TypeMeta:   metav1.TypeMeta{APIVersion: "node.k8s.io/v1", Kind: "RuntimeClass"},
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Handler:    handler,
		Overhead: &nodev1.Overhead{PodFixed: corev1.ResourceList{
			corev1.ResourceMemory: *resource.NewQuantity(int64(c.MemoryMiB+hostMemoryMiB)<<20, resource.BinarySI),
			corev1.ResourceCPU:    *resource.NewMilliQuantity(hostCPUMilli, resource.DecimalSI),
		}},
		Scheduling: &nodev1.Scheduling{NodeSelector: map[string]string{nodeLabel: "true"}},
	}
	text, err := yaml.Marshal(class)
	return string(text), err
}
