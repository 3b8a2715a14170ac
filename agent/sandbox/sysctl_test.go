package sandbox

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestSysctlIsTheGuests: the runtime is not asked to set what belongs to the guest's network, and a container that fails leaves nothing of it.
func TestSysctlIsTheGuests(t *testing.T) {
	const name = "net.ipv4.ip_unprivileged_port_start"
	for _, fails := range []bool{false, true} {
		b := newBench(t, testPolicy(""))
		file := b.fs("/proc/sys/net/ipv4/ip_unprivileged_port_start")
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte("1024\n"), 0o600)); err != nil {
			t.Fatal(err)
		}
		if fails {
			b.runtime.fail["create"] = errors.New("told to fail")
		}
		err := b.CreateContainer(t.Context(), web(t, "web", func(r *CreateRequest) { r.OCI.Sysctl = map[string]string{name: "80"} }))
		if (err != nil) != fails {
			t.Fatal(err)
		}
		want := "80"
		if fails {
			want = "1024"
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != want {
			t.Errorf("create fails %t: got %q and %v, want %q", fails, got, err, want)
		}
		if spec := b.runtime.specs[Key("web")]; !fails && len(spec.Linux.Sysctl) != 0 {
			t.Errorf("the runtime is asked for %v", spec.Linux.Sysctl)
		}
	}
}
