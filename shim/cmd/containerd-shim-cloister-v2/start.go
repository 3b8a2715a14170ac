package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/containerd/cgroups/v3"
	"github.com/containerd/cgroups/v3/cgroup1"
	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/api/types/runtimeoptions/v1"
	"github.com/containerd/containerd/v2/defaults"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/shim"

	"github.com/cloister-cc/cloister/shim/node"
)

// sandboxAnnotation groups the containers of a Kubernetes pod.
const sandboxAnnotation = "io.kubernetes.cri.sandbox-id"

// sandboxEnv names the pod to the serving process.
const sandboxEnv = "CLOISTER_SANDBOX"

// addressFile is the file in the bundle with the address of the shim's socket.
const addressFile = "address"

// bodyFile is the file in the bundle with a node configuration that came with the runtime's options as a text.
const bodyFile = "cloister-node.toml"

// manager is the shim's binary as containerd calls it.
type manager struct{}

// Name is the runtime's name.
func (manager) Name() string { return runtimeName }

// Start leaves a process behind that serves the pod, or finds the one that does already.
func (m manager) Start(ctx context.Context, params *bootapi.BootstrapParams) (*bootapi.BootstrapResult, error) {
	pod, err := groupOf("config.json", params.GetInstanceID())
	if err != nil {
		return nil, err
	}
	result := &bootapi.BootstrapResult{Version: newest, Protocol: "ttrpc"}
	if err := result.AddExtension(mountCapabilities()); err != nil {
		return nil, err
	}
	root := params.GetSocketDir()
	if root == "" {
		root = filepath.Join(defaults.DefaultStateDir, "s")
	}
	if result.Address, err = shim.CreateSocketAddress(ctx, root, params.GetContainerdGrpcAddress(), pod, false); err != nil {
		return nil, err
	}
	// containerd's shims leave the address here, from where it is removed at their end; `delete` does it for one that was killed.
	if err := os.WriteFile(addressFile, []byte(result.Address), 0o600); err != nil {
		return nil, err
	}
	socket, err := listen(result.Address)
	if err != nil || socket == nil {
		return result, err
	}
	defer socket.Close()
	if err := m.serve(ctx, params, pod, socket); err != nil {
		_ = shim.RemoveSocket(result.Address)
		return nil, err
	}
	return result, nil
}

// mountCapabilities claims the mounts of containerd's erofs snapshotter: the machine gets the files, the host mounts nothing of them.
func mountCapabilities() *types.MountCapabilities {
	return &types.MountCapabilities{
		Types:      []string{"erofs", "overlay", "loop", "ext4"},
		Transforms: []string{"format", "mkdir", "mkfs"},
	}
}

// groupOf is the pod that a container belongs to: that of its annotation, or its own. A sandbox of the sandbox API may have no specification yet.
func groupOf(path, id string) (string, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return id, nil
	}
	if err != nil {
		return "", fmt.Errorf("read specification: %w", err)
	}
	defer f.Close()
	var oci struct {
		Annotations map[string]string `json:"annotations"`
	}
	if err := json.NewDecoder(f).Decode(&oci); err != nil {
		return "", fmt.Errorf("read specification %q: %w", path, err)
	}
	if pod := oci.Annotations[sandboxAnnotation]; pod != "" {
		return pod, nil
	}
	return id, nil
}

// listen makes the pod's socket. It is nil when a shim listens there: the pod's own. One that nobody listens on any more is replaced.
func listen(address string) (*os.File, error) {
	l, err := shim.NewSocket(address)
	if err != nil {
		if !shim.SocketEaddrinuse(err) {
			return nil, fmt.Errorf("make socket of the shim: %w", err)
		}
		if shim.CanConnect(address) {
			return nil, nil
		}
		if err := shim.RemoveSocket(address); err != nil {
			return nil, fmt.Errorf("remove socket of a shim that died: %w", err)
		}
		if l, err = shim.NewSocket(address); err != nil {
			return nil, fmt.Errorf("make socket of the shim: %w", err)
		}
	}
	defer closeKeeping(l)
	return l.File()
}

// closeKeeping closes a listener whose socket lives on in another descriptor.
func closeKeeping(l *net.UnixListener) {
	l.SetUnlinkOnClose(false)
	_ = l.Close()
}

// serve runs this binary again as the serving process, in the bundle, with the socket as descriptor 3.
func (m manager) serve(ctx context.Context, params *bootapi.BootstrapParams, pod string, socket *os.File) error {
	namespace, err := namespaces.NamespaceRequired(ctx)
	if err != nil {
		return err
	}
	env, err := nodeEnv(params)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := []string{"-namespace", namespace, "-id", params.GetInstanceID(), "-address", params.GetContainerdGrpcAddress()}
	if params.GetLogLevel() <= bootapi.LogLevel_LOG_LEVEL_DEBUG {
		args = append(args, "-debug")
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=2", "TTRPC_ADDRESS="+params.GetContainerdTtrpcAddress(), sandboxEnv+"="+pod)
	cmd.Env = append(cmd.Env, env...)
	cmd.ExtraFiles = []*os.File{socket}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the serving process: %w", err)
	}
	go func() { _ = cmd.Wait() }()
	if err := errors.Join(shim.AdjustOOMScore(cmd.Process.Pid), joinCgroup(params, cmd.Process.Pid)); err != nil {
		return errors.Join(err, cmd.Process.Kill())
	}
	return nil
}

// joinCgroup puts the serving process into the control group that runtime options in runc's form name (containerd's shim_cgroup). There has to be one of the name.
func joinCgroup(params *bootapi.BootstrapParams, pid int) error {
	given := &options.Options{}
	if _, err := params.FindExtension(given); err != nil {
		return fmt.Errorf("runtime options: %w", err)
	}
	group := given.GetShimCgroup()
	if group == "" {
		return nil
	}
	if cgroups.Mode() == cgroups.Unified {
		procs := filepath.Join("/sys/fs/cgroup", filepath.Clean("/"+group), "cgroup.procs")
		return wrapped(group, os.WriteFile(procs, strconv.AppendInt(nil, int64(pid), 10), 0))
	}
	c, err := cgroup1.Load(cgroup1.StaticPath(group))
	if err == nil {
		err = c.AddProc(uint64(pid))
	}
	return wrapped(group, err)
}

func wrapped(group string, err error) error {
	if err != nil {
		return fmt.Errorf("join the shim's control group %q: %w", group, err)
	}
	return nil
}

// nodeEnv names the node's configuration where the runtime's options do: the path, or the text as a file in the bundle.
func nodeEnv(params *bootapi.BootstrapParams) ([]string, error) {
	options := &runtimeoptions.Options{}
	found, err := params.FindExtension(options)
	if err != nil {
		return nil, fmt.Errorf("runtime options: %w", err)
	}
	path := options.GetConfigPath()
	if found && path == "" && len(options.GetConfigBody()) > 0 {
		if path, err = filepath.Abs(bodyFile); err != nil {
			return nil, err
		}
		if err := os.WriteFile(path, options.GetConfigBody(), 0o600); err != nil {
			return nil, err
		}
	}
	// What the serving process says of a wrong file only the node's log has; what is said here, whoever starts the pod.
	if path == "" {
		_, err := node.Load("")
		return nil, err
	}
	if _, err := node.Load(path); err != nil {
		return nil, err
	}
	return []string{node.Env + "=" + path}, nil
}
