package bed

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Ctr runs containerd's own client in the node's namespace for it, and returns what it wrote and its exit code.
func (n *Node) Ctr(ctx context.Context, stdin io.Reader, args ...string) (stdout, stderr string, code int, err error) {
	var out, errOut strings.Builder
	cmd := exec.CommandContext(ctx, filepath.Join(n.programs.Others, "ctr"), append([]string{"--address", n.Address(), "--namespace", n.Namespace()}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &errOut
	cmd.Env = append(os.Environ(), n.mark)
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return out.String(), errOut.String(), exit.ExitCode(), nil
	}
	return out.String(), errOut.String(), 0, err
}

// CtrPull pulls one of the tests' images for our snapshotter.
func (n *Node) CtrPull(ctx context.Context, name string) error {
	_, errOut, code, err := n.Ctr(ctx, nil, "images", "pull", "--hosts-dir", filepath.Join(n.Dir, "certs.d"), "--snapshotter", "cloister", "--platform", "linux/amd64", Ref(name))
	if err == nil && code != 0 {
		err = errors.New("ctr images pull: " + lastBytes(errOut))
	}
	return err
}

// CtrRunArgs are the words of `ctr run` for a container of our runtime, up to the image. The host name is the pod's that the policy was written for: CRI puts it
// into each container's variables, ctr does not.
func CtrRunArgs(policy, hostname string, more ...string) []string {
	// A pod may gain privileges unless it says no; ctr's default is the other way round. 64 MiB is the limit of the tests' containers.
	return append([]string{
		"run", "--rm", "--snapshotter", "cloister", "--runtime", "io.containerd.cloister.v2", "--allow-new-privs", "--memory-limit", "67108864",
		"--hostname", hostname, "--env", "HOSTNAME=" + hostname,
		"--annotation", AnnotationKataPolicy + "=" + policy,
	}, more...)
}
