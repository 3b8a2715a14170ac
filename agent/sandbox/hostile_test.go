package sandbox

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/agent/container"
	"github.com/cloister-cc/cloister/agent/staging"
)

// A request that waits for its turn must not act on the container it would have found before: the id may be another's by then.
func TestContainerIsFoundWhenItsTurnHasCome(t *testing.T) {
	for name, request := range map[string]func(*bench) error{
		"remove": func(b *bench) error { return b.RemoveContainer(t.Context(), "w", 0) },
		"signal": func(b *bench) error { return b.Signal(t.Context(), "w", "", 9) },
		"start":  func(b *bench) error { return b.StartContainer(t.Context(), "w") },
		"exec": func(b *bench) error {
			return b.Exec(t.Context(), ExecRequest{ID: "w", ExecID: "e", Process: &container.ProcessRequest{Args: []string{"/bin/check"}}})
		},
		"pause": func(b *bench) error { return b.Pause(t.Context(), "w") },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, testPolicy(""))
			b.life(t, web(t, "w", nil))
			b.queue <- struct{}{} // somebody's turn
			result := make(chan error, 1)
			go func() { result <- request(b) }()
			b.mu.Lock()
			delete(b.containers, Key("w"))
			delete(b.ids, Key("w"))
			b.mu.Unlock()
			<-b.queue
			if err := <-result; status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "not known") {
				t.Fatalf("got %v, want that the container is not known", err)
			}
		})
	}
}

// dirStaging is a staging area of plain files.
type dirStaging string

func (d dirStaging) Copy(*api.CopyFileRequest) error { return nil }
func (d dirStaging) Resolve(entry string) (string, error) {
	return filepath.Join(string(d), entry), nil
}
func (d dirStaging) RemoveOwned(string) error { return nil }

// A refused create must not have written what running containers read.
func TestRefusedCreateWritesNoHosts(t *testing.T) {
	b := newBench(t, testPolicy(""))
	dir := t.TempDir()
	b.cfg.Staging = dirStaging(dir)
	const entry = "pod-0123456789abcdef-hosts"
	if err := os.WriteFile(filepath.Join(dir, entry), []byte("6.6.6.6 vault.internal\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	pods := b.fs(hostsName(b.pod.key))
	if err := os.WriteFile(pods, []byte("127.0.0.1 localhost\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	hosts := specs.Mount{Destination: "/etc/hosts", Type: "bind", Source: staging.SharedDir + entry, Options: []string{"rbind", "rw"}}
	err := b.CreateContainer(t.Context(), web(t, "pod", func(r *CreateRequest) {
		r.OCI.IsSandbox = true
		r.OCI.Mounts = append(r.OCI.Mounts, hosts)
		r.OCI.Process.Args = []string{"/bin/other"}
	}))
	if status.Code(err) != codes.PermissionDenied {
		t.Fatalf("got %v, want a refusal", err)
	}
	if text, _ := os.ReadFile(pods); strings.Contains(string(text), "vault") {
		t.Fatalf("the pod's hosts file was rewritten: %q", text)
	}
	b.life(t, web(t, "w", func(r *CreateRequest) { r.OCI.Mounts = append(r.OCI.Mounts, hosts) }))
	for _, m := range b.runtime.specs[Key("w")].Mounts {
		if m.Destination != "/etc/hosts" {
			continue
		}
		text, err := os.ReadFile(m.Source)
		if err != nil || !strings.Contains(string(text), "6.6.6.6") || m.Source == pods {
			t.Fatalf("got %q in %s, %v, want the alias in the container's own file", text, m.Source, err)
		}
	}
}

// The runtime mounts binds anew with the options of the specification: what must stay dead has to be in them.
func TestBindsAreDead(t *testing.T) {
	b := newBench(t, testPolicy(""))
	b.life(t, web(t, "w", nil))
	for _, m := range b.runtime.specs[Key("w")].Mounts {
		if m.Type != "bind" {
			continue
		}
		options := strings.Join(m.Options, ",")
		if !strings.Contains(options, "nosuid") || !strings.Contains(options, "nodev") {
			t.Errorf("bind at %s has %s, want nosuid and nodev", m.Destination, options)
		}
		if m.Destination != "/data" && !strings.Contains(options, "noexec") {
			t.Errorf("bind at %s has %s, want noexec", m.Destination, options)
		}
	}
}

// Links in /etc of an image are followed inside it only, and only regular files of a bounded size are read.
func TestLookUpUsersStaysInTheRootFileSystem(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "passwd")
	if err := os.WriteFile(outside, []byte("evil:x:7:7::/:\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		make func(t *testing.T, etc string) error
		want string // the name of uid 7, or "error"
	}{
		{"plain", func(_ *testing.T, etc string) error {
			return os.WriteFile(etc+"/passwd", []byte("root:x:0:0::/:\nweb:x:7:7::/:\n"), 0o644)
		}, "web"},
		{"absent", func(*testing.T, string) error { return nil }, ""},
		{"absolute-link", func(_ *testing.T, etc string) error { return os.Symlink(outside, etc+"/passwd") }, ""},
		{"link-up", func(_ *testing.T, etc string) error { return os.Symlink("../../../../../.."+outside, etc+"/passwd") }, ""},
		{"directory", func(_ *testing.T, etc string) error { return os.Mkdir(etc+"/passwd", 0o755) }, "error"},
		{"too-large", func(_ *testing.T, etc string) error {
			return os.WriteFile(etc+"/passwd", make([]byte, maxUserFile+1), 0o644)
		}, "error"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := t.TempDir()
			if err := os.Mkdir(root+"/etc", 0o755); err != nil {
				t.Fatal(err)
			}
			if err := tc.make(t, root+"/etc"); err != nil {
				t.Fatal(err)
			}
			u, err := lookUpUsers(root, &container.ProcessRequest{UID: 7})
			if (err != nil) != (tc.want == "error") {
				t.Fatalf("got %v", err)
			}
			if err == nil && u.user.Name != tc.want {
				t.Fatalf("got %q, want %q", u.user.Name, tc.want)
			}
		})
	}
}
