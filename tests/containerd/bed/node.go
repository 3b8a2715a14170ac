package bed

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/vishvananda/netlink"
	internalapi "k8s.io/cri-api/pkg/apis"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	criclient "k8s.io/cri-client/pkg"
)

// Options of a node.
type Options struct {
	Programs *Programs
	Dir      string // of the node's own, short: sockets are below it. Made when empty, and removed by Stop
	// NodeConfig is appended to the shim's node.toml.
	NodeConfig string
}

// Node is a running containerd with all that belongs to it.
type Node struct {
	Dir     string
	Runtime internalapi.RuntimeService
	Images  internalapi.ImageManagerService
	Client  *containerd.Client

	programs    *Programs
	containerd  *daemon
	snapshotter *daemon
	registry    *registry
	mark        string // in the environment of each process of the node: NAME=VALUE
	bridge      string
	subnet      string // three bytes of four
	subnet6     string // 64 bits
	ownDir      bool
}

// markName is the variable that all processes of a node have.
const markName = "CLOISTER_BED"

// dirPrefix begins the name of a node's directory; the process that made it follows.
const dirPrefix = "clbed-"

// Start starts a node.
func Start(ctx context.Context, o Options) (*Node, error) {
	if err := sweepStale(); err != nil {
		return nil, fmt.Errorf("remove what an earlier run has left: %w", err)
	}
	n := &Node{Dir: o.Dir, programs: o.Programs}
	if n.Dir == "" {
		var err error
		if n.Dir, err = os.MkdirTemp("", fmt.Sprintf("%s%d-", dirPrefix, os.Getpid())); err != nil {
			return nil, err
		}
		n.ownDir = true
	}
	if err := n.start(ctx, o); err != nil {
		return nil, errors.Join(err, n.Stop(context.WithoutCancel(ctx)))
	}
	return n, nil
}

func (n *Node) start(ctx context.Context, o Options) (err error) {
	var id [3]byte
	rand.Read(id[:])
	name := hex.EncodeToString(id[:])
	n.mark = fmt.Sprintf("%s=%d-%s", markName, os.Getpid(), name)
	n.bridge, n.subnet, n.subnet6 = "clb"+name, fmt.Sprintf("10.%d.%d", id[0], id[1]), fmt.Sprintf("fd0c:%x:%x:%x", id[0], id[1], id[2])
	if err := os.WriteFile(filepath.Join(n.Dir, "bridge"), []byte(n.bridge), 0o644); err != nil {
		return err
	}
	// QEMU runs as a user of its own and has to get to the pods' directories.
	if err := os.Chmod(n.Dir, 0o711); err != nil {
		return err
	}
	if n.registry, err = startRegistry(filepath.Join(n.programs.Images, Registry)); err != nil {
		return err
	}
	if err := n.writeConfig(o); err != nil {
		return err
	}
	if err := n.startSnapshotter(ctx); err != nil {
		return err
	}
	return n.startContainerd(ctx)
}

func (n *Node) startSnapshotter(ctx context.Context) (err error) {
	socket := filepath.Join(n.Dir, "snapshotter.sock")
	n.snapshotter, err = n.daemon("cloister-snapshotter", filepath.Join(n.programs.Ours, "cloister-snapshotter"),
		"--root", filepath.Join(n.Dir, "snapshotter"), "--containerd", n.Address())
	if err != nil {
		return err
	}
	return n.snapshotter.await(ctx, "its socket", func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

func (n *Node) startContainerd(ctx context.Context) (err error) {
	n.containerd, err = n.daemon("containerd", filepath.Join(n.programs.Others, "containerd"), "--config", filepath.Join(n.Dir, "config.toml"))
	if err != nil {
		return err
	}
	err = n.containerd.await(ctx, "CRI", func(ctx context.Context) error {
		if n.Client == nil {
			if n.Client, err = containerd.New(n.Address(), containerd.WithTimeout(time.Second)); err != nil {
				return err
			}
		}
		if n.Runtime == nil {
			if n.Runtime, err = criclient.NewRemoteRuntimeServiceBuilder().WithEndpoint("unix://" + n.Address()).WithConnectionTimeout(criTimeout).Build(ctx); err != nil {
				n.Runtime = nil
				return err
			}
		}
		status, err := n.Runtime.Status(ctx, false)
		if err != nil {
			return err
		}
		for _, c := range status.GetStatus().GetConditions() {
			if (c.Type == cri.RuntimeReady || c.Type == cri.NetworkReady) && !c.Status {
				return fmt.Errorf("%s: %s: %s", c.Type, c.Reason, c.Message)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if n.Images == nil {
		n.Images, err = criclient.NewRemoteImageServiceBuilder().WithEndpoint("unix://" + n.Address()).WithConnectionTimeout(criTimeout).Build(ctx)
	}
	return err
}

// criTimeout is kubelet's --runtime-request-timeout; a boot under emulation on a busy machine needs more than the usual two minutes.
const criTimeout = 5 * time.Minute

// Address is containerd's socket.
func (n *Node) Address() string { return filepath.Join(n.Dir, "containerd.sock") }

// Programs are what the node was made of.
func (n *Node) Programs() *Programs { return n.programs }

// RestartContainerd kills containerd as a crash would, and starts it again.
func (n *Node) RestartContainerd(ctx context.Context) error {
	if err := n.containerd.kill(); err != nil {
		return err
	}
	return n.startContainerd(ctx)
}

// RestartSnapshotter does the same to the snapshotter.
func (n *Node) RestartSnapshotter(ctx context.Context) error {
	if err := n.snapshotter.kill(); err != nil {
		return err
	}
	return n.startSnapshotter(ctx)
}

// ReplaceImage puts another OCI layout under the name of an image in the node's registry.
func (n *Node) ReplaceImage(name, layout string) { n.registry.replace(name, layout) }

// Logs are the ends of the daemons' logs, for a case that failed.
func (n *Node) Logs() string {
	var text string
	for _, d := range []*daemon{n.containerd, n.snapshotter} {
		if d != nil {
			text += fmt.Sprintf("--- %s\n%s\n", d.name, d.tail())
		}
	}
	return text
}

// Stop ends everything of the node: first its pods through CRI, then the daemons, then whatever process still has its mark.
func (n *Node) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var errs []error
	if n.Runtime != nil {
		errs = append(errs, n.RemoveAll(ctx))
		n.Runtime.Close(ctx)
	}
	if n.Images != nil {
		n.Images.Close(ctx)
	}
	if n.Client != nil {
		errs = append(errs, n.Client.Close())
	}
	for _, d := range []*daemon{n.containerd, n.snapshotter} {
		if d != nil {
			errs = append(errs, d.stop(ctx))
		}
	}
	if n.registry != nil {
		errs = append(errs, n.registry.server.Close())
	}
	errs = append(errs, n.sweep())
	if n.ownDir {
		errs = append(errs, os.RemoveAll(n.Dir))
	}
	return errors.Join(errs...)
}

// sweep removes what a broken run has left: processes with the mark, mounts below the directory, the bridge.
func (n *Node) sweep() error {
	var errs []error
	if n.mark != "" {
		errs = append(errs, killMarked(n.mark))
	}
	errs = append(errs, unmountBelow(n.Dir), removeCgroups(n.CgroupParent()))
	if link, err := netlink.LinkByName(n.bridge); err == nil {
		errs = append(errs, netlink.LinkDel(link))
	}
	return errors.Join(errs...)
}
