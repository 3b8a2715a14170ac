package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/core/snapshots/proxy"
	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/cloister-cc/cloister/shim/node"
	"github.com/cloister-cc/cloister/verity/layer"
)

// manager is what a service manager is to a daemon: a socket that is told of its state.
func manager(t *testing.T) *net.UnixConn {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return c
}

// TestServe: ready means that it answers; the end of its context is a clean end, and it can begin again on the same paths.
func TestServe(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "node.toml")
	if err := os.WriteFile(config, []byte(`layer_format = "erofs"`+"\n"+`snapshotter = "`+dir+`/run/s.sock"`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// A socket that a killed daemon has left.
	if err := os.Mkdir(dir+"/run", 0o755); err != nil {
		t.Fatal(err)
	}
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: dir + "/run/s.sock", Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	left.Close()

	told := manager(t)
	for range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		cmd := newCommand()
		cmd.SetArgs([]string{"--root", dir + "/root", "--config", config, "--containerd", dir + "/none.sock", "--metrics", dir + "/run/m.sock"})
		go func() { done <- cmd.ExecuteContext(ctx) }()
		ready := make([]byte, 64)
		n, err := told.Read(ready)
		if err != nil || string(ready[:n]) != "READY=1" {
			t.Fatalf("told %q, %v, want READY=1", ready[:n], err)
		}
		if info, err := os.Stat(dir + "/run/s.sock"); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("socket: got %v, %v, want nobody else's", info, err)
		}
		conn, err := grpc.NewClient("unix://"+dir+"/run/s.sock", grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := proxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(conn), "cloister").Stat(ctx, "none"); !errdefs.IsNotFound(err) {
			t.Errorf("got %v, want NotFound", err)
		}
		conn.Close()
		if text := scrape(t, dir+"/run/m.sock"); !strings.Contains(text, "cloister_snapshotter_layers 0") {
			t.Errorf("metrics: got %q, want the number of layers", text)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("ended with %v, want cleanly", err)
		}
	}
}

// scrape asks for the metrics.
func scrape(t *testing.T, socket string) string {
	t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Get("http://daemon/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestServeRefused: paths that cannot be meant.
func TestServeRefused(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"--root", "relative"}, "absolute"},
		{[]string{"--root", dir + "/root", "--socket", "s.sock"}, "absolute"},
		{[]string{"--root", dir + "/root", "--socket", file}, "already"},
		{[]string{"--root", dir + "/root", "--config", dir + "/none.toml"}, "none.toml"},
		{[]string{"--root", dir + "/root", "--layer-entries", "0"}, "--layer-entries: got 0"},
		{[]string{"--root", dir + "/root", "--layer-inline-mib", "-1"}, "--layer-inline-mib: got -1"},
		{[]string{"extra"}, "extra"},
	} {
		cmd := newCommand()
		cmd.SetArgs(c.args)
		if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: got %v, want an error with %q", c.args, err, c.says)
		}
	}
}

// TestLimits: layers are the work of strangers, and the daemon's memory is the node's.
func TestLimits(t *testing.T) {
	for _, c := range []struct {
		args []string
		want layer.Limits
	}{
		{nil, layer.Limits{Entries: 300_000, Inline: 128 << 20}},
		{[]string{"--layer-entries", "1000000", "--layer-inline-mib", "1024"}, layer.Limits{Entries: 1_000_000, Inline: 1 << 30}},
	} {
		var s settings
		if err := s.command().ParseFlags(c.args); err != nil {
			t.Fatal(err)
		}
		if got, err := s.limits(); err != nil || got != c.want {
			t.Errorf("%q: got %+v, %v, want %+v", c.args, got, err, c.want)
		}
	}
}

func TestFormatOf(t *testing.T) {
	for format, want := range map[node.Format]layer.Format{node.FormatAuto: layer.Ext4, node.FormatExt4: layer.Ext4, node.FormatEROFS: layer.EROFS} {
		if got := formatOf(format); got != want {
			t.Errorf("%s: got %s, want %s", format, got, want)
		}
	}
}
