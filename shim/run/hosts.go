package run

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/shim/boot"
)

// sharedDir is where copied files are said to be (agent API contract 1.5).
const sharedDir = "/run/kata-containers/shared/containers/"

// copyHosts hands the pod's host aliases to the agent as kubelet's hosts file would carry them, and names the file in the
// container's mounts. The agent keeps what it can read as names and addresses and writes its own file.
func (s *Sandbox) copyHosts(ctx context.Context, r *api.CreateContainerRequest) error {
	if len(s.options.HostAliases) == 0 {
		return nil
	}
	var text strings.Builder
	for _, a := range s.options.HostAliases {
		fmt.Fprintf(&text, "%s\t%s\n", a.IP, strings.Join(a.Hostnames, "\t"))
	}
	path := sharedDir + r.ContainerId + "-" + boot.NewID()[:16] + "-hosts"
	_, err := s.client.CopyFile(ctx, &api.CopyFileRequest{
		Path: path, FileMode: unix.S_IFREG | 0o644, DirMode: 0o755, FileSize: int64(text.Len()), Data: []byte(text.String()),
	})
	if err != nil {
		return fmt.Errorf("copy host aliases: %w", err)
	}
	r.OCI.Mounts = append(r.OCI.Mounts, &api.Mount{
		Destination: "/etc/hosts", Source: path, Type: "bind", Options: []string{"rbind", "rprivate", "rw"},
	})
	return nil
}
