package nodecheck

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"

	introspection "github.com/containerd/containerd/api/services/introspection/v1"
	snapshots "github.com/containerd/containerd/api/services/snapshots/v1"
	versions "github.com/containerd/containerd/api/services/version/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Names of the two proxy plugins, as installed.
const (
	snapshotPlugin = "cloister"
	diffPlugin     = "cloister-diff"
)

func dial(socket string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}))
}

// snapshotter asks the daemon for a snapshot that nobody has.
func (h *Host) snapshotter(ctx context.Context) Finding {
	f := Finding{What: "cloister-snapshotter", Follows: "no image is unpacked for these pods"}
	if h.Root != "" {
		return Finding{}
	}
	f.Next = "systemctl start cloister-snapshotter; journalctl -u cloister-snapshotter"
	if h.Node.Snapshotter == "" {
		f.Level, f.Got, f.Follows, f.Next = Note, "no socket configured", "layers are never asked for in another format", ""
		return f
	}
	conn, err := dial(h.Node.Snapshotter)
	if err == nil {
		defer conn.Close()
		ctx := metadata.AppendToOutgoingContext(ctx, "containerd-namespace", "cloister-node-check")
		_, err = snapshots.NewSnapshotsClient(conn).Stat(ctx, &snapshots.StatSnapshotRequest{Snapshotter: snapshotPlugin, Key: "cloister-node-check"})
	}
	if status.Code(err) != codes.NotFound {
		f.Level, f.Got = Fail, fmt.Sprintf("%s: %s", h.Node.Snapshotter, oneLine(err))
		return f
	}
	return Finding{What: f.What, Level: OK, Got: "answers on " + h.Node.Snapshotter}
}

// containerd asks for its version and for the state of the plugins that pods need.
func (h *Host) containerd(ctx context.Context) Finding {
	f := Finding{What: "containerd"}
	if h.Root != "" {
		return Finding{}
	}
	if _, err := os.Stat(h.Containerd); err != nil {
		f.Level, f.Got, f.Follows, f.Next = Fail, fmt.Sprintf("%v", err), "there is nothing to run pods with", "systemctl start containerd, or name its socket with --containerd"
		return f
	}
	conn, err := dial(h.Containerd)
	if err != nil {
		f.Level, f.Got = Fail, oneLine(err)
		return f
	}
	defer conn.Close()
	version, err := versions.NewVersionClient(conn).Version(ctx, &emptypb.Empty{})
	if err != nil {
		f.Level, f.Got, f.Follows, f.Next = Fail, oneLine(err), "containerd does not answer", "systemctl status containerd"
		return f
	}
	f.Got = version.GetVersion()
	plugins, err := introspection.NewIntrospectionClient(conn).Plugins(ctx, &introspection.PluginsRequest{})
	if err != nil {
		f.Level, f.Follows = Fail, "its plugins could not be listed: "+oneLine(err)
		return f
	}
	return judge(f, plugins.GetPlugins())
}

// judge looks for the plugins by type and id.
func judge(f Finding, plugins []*introspection.Plugin) Finding {
	states := map[string]string{}
	for _, p := range plugins {
		state := "ok"
		if p.GetInitErr() != nil {
			state = p.GetInitErr().GetMessage()
		}
		states[p.GetType()+"."+p.GetID()] = state
	}
	for _, need := range []struct{ uri, what string }{
		{"io.containerd.snapshotter.v1." + snapshotPlugin, "the snapshotter"}, {"io.containerd.differ.v1." + diffPlugin, "the differ"},
	} {
		switch state, ok := states[need.uri]; {
		case !ok:
			f.Level, f.Got, f.Follows = Fail, f.Got+"; it has not loaded "+need.what+" "+need.uri, "no image is unpacked for these pods"
			f.Next = "cloister node install, then systemctl restart containerd"
			return f
		case state != "ok":
			f.Level, f.Got, f.Follows, f.Next = Fail, f.Got+"; "+need.uri+": "+oneLineText(state), "no image is unpacked for these pods", "systemctl restart cloister-snapshotter containerd"
			return f
		}
	}
	cri := false
	for _, uri := range []string{"io.containerd.grpc.v1.cri"} {
		cri = cri || states[uri] == "ok"
	}
	if !cri {
		f.Level, f.Got, f.Follows = Warn, f.Got+"; the CRI plugin is off or failed", "ctr works, Kubernetes does not"
		f.Next = "take io.containerd.grpc.v1.cri out of disabled_plugins; ctr plugins ls says why it failed"
		return f
	}
	f.Level, f.Got = OK, f.Got+", plugins loaded"
	return f
}

func oneLine(err error) string {
	if err == nil {
		return "an answer where none was due"
	}
	if s, ok := status.FromError(err); ok {
		return oneLineText(s.Message())
	}
	return oneLineText(err.Error())
}

// oneLineText keeps what others said to a line of at most 200 bytes.
func oneLineText(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	return s[:min(len(s), 200)]
}
