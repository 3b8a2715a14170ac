package boot

import (
	"errors"
	"strings"
	"testing"
)

func TestParseCmdline(t *testing.T) {
	for _, tc := range []struct {
		name, line string
		want       Parameters
	}{
		{"as-built", "console=ttyS0 quiet loglevel=3 panic=-1 reboot=t\n", Parameters{ServerAddr: "auto"}},
		{"empty", "", Parameters{ServerAddr: "auto"}},
		{"address", "agent.server_addr=vsock://-1:1024", Parameters{ServerAddr: "vsock://-1:1024"}},
		{"serial", "agent.server_addr=virtio-serial://cloister.agent.0", Parameters{ServerAddr: "virtio-serial://cloister.agent.0"}},
		{"unix", "agent.server_addr=unix:///run/a.sock", Parameters{ServerAddr: "unix:///run/a.sock"}},
		{"strict", "cloister.strict_api=1", Parameters{ServerAddr: "auto", StrictAPI: true}},
		{"not-strict", "cloister.strict_api=0", Parameters{ServerAddr: "auto"}},
		{"crash-console", "cloister.crash_console=1", Parameters{ServerAddr: "auto", CrashConsole: true}},
		{"kata-sets-more", "agent.log=debug agent.debug_console systemd.unit=kata.target", Parameters{ServerAddr: "auto"}},
		{"after-the-dashes", "quiet -- cloister.nonsense=1", Parameters{ServerAddr: "auto"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got, err := ParseCmdline(tc.line); err != nil || got != tc.want {
				t.Errorf("got %+v, %v, want %+v", got, err, tc.want)
			}
		})
	}
}

func TestParseCmdlineRefuses(t *testing.T) {
	for _, tc := range []struct{ name, line string }{
		{"unknown-of-ours", "cloister.strict-api=1"},
		{"unknown-without-value", "cloister.insecure"},
		{"repeated", "cloister.strict_api=1 cloister.strict_api=0"},
		{"repeated-equal", "agent.server_addr=auto agent.server_addr=auto"},
		{"not-a-bool", "cloister.strict_api=yes"},
		{"bool-without-value", "cloister.strict_api"},
		{"empty-address", "agent.server_addr="},
		{"scheme", "agent.server_addr=tcp://0.0.0.0:1"},
		{"vsock-without-port", "agent.server_addr=vsock://-1"},
		{"vsock-port-zero", "agent.server_addr=vsock://-1:0"},
		{"vsock-port-large", "agent.server_addr=vsock://-1:4294967296"},
		{"serial-without-name", "agent.server_addr=virtio-serial://"},
		{"serial-with-slash", "agent.server_addr=virtio-serial://../x"},
		{"unix-relative", "agent.server_addr=unix://run/a"},
		{"unix-long", "agent.server_addr=unix:///" + strings.Repeat("a", 200)},
		{"quoted", `cloister.strict_api="1"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := ParseCmdline(tc.line)
			if !errors.Is(err, ErrParameter) {
				t.Fatalf("got %v, want a bad parameter", err)
			}
			if got != (Parameters{}) {
				t.Errorf("got %+v beside the error", got)
			}
		})
	}
}
