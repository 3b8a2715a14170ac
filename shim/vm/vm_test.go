package vm

import (
	"os"
	"strings"
	"testing"
)

func good() Config {
	return Config{
		ID: "pod", Dir: "/run/pod", Kernel: "/g/vmlinuz", Initrd: "/g/initrd.img", Console: "/run/pod/console",
		VCPUs: 2, MemoryMiB: 512, TEE: TEEEmulated,
	}
}

func launchID(block, auth int) *LaunchID {
	return &LaunchID{Block: make([]byte, block), Auth: make([]byte, auth)}
}

func TestValidate(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*Config)
		want   string // part of the error, "" for none
	}{
		{"good", func(*Config) {}, ""},
		{"tee-missing", func(c *Config) { c.TEE = "" }, "tee"},
		{"tee-unknown", func(c *Config) { c.TEE = "sgx" }, "tee"},
		{"accel-unknown", func(c *Config) { c.Accel = "hvf" }, "accelerator"},
		{"snp-without-firmware", func(c *Config) { c.TEE = TEESNP }, "firmware"},
		{"snp-under-tcg", func(c *Config) { c.TEE, c.Firmware, c.Accel = TEESNP, "/f", "tcg" }, "SNP needs kvm"},
		{"snp", func(c *Config) { c.TEE, c.Firmware = TEESNP, "/f" }, ""},
		{"snp-with-id-block", func(c *Config) { c.TEE, c.Firmware, c.LaunchID = TEESNP, "/f", launchID(96, 4096) }, ""},
		{"id-block-without-snp", func(c *Config) { c.LaunchID = launchID(96, 4096) }, "id block"},
		{"id-block-short", func(c *Config) { c.TEE, c.Firmware, c.LaunchID = TEESNP, "/f", launchID(95, 4096) }, "95 bytes"},
		{"id-auth-missing", func(c *Config) { c.TEE, c.Firmware, c.LaunchID = TEESNP, "/f", launchID(96, 0) }, "0 of authentication"},
		{"no-cpu", func(c *Config) { c.VCPUs = 0 }, "vcpus"},
		{"many-cpus", func(c *Config) { c.VCPUs = 256 }, "vcpus"},
		{"no-memory", func(c *Config) { c.MemoryMiB = 0 }, "memory"},
		{"relative-kernel", func(c *Config) { c.Kernel = "vmlinuz" }, "kernel"},
		{"no-initrd", func(c *Config) { c.Initrd = "" }, "initrd"},
		{"no-dir", func(c *Config) { c.Dir = "" }, "dir"},
		{"no-console", func(c *Config) { c.Console = "" }, "console"},
		{"grows", func(c *Config) { c.MaxVCPUs, c.MaxMemoryMiB = 8, 4096 }, ""},
		{"max-below-size", func(c *Config) { c.MaxVCPUs = 1 }, "maximum of vcpus"},
		{"max-memory-below-size", func(c *Config) { c.MaxMemoryMiB = 256 }, "maximum of memory"},
		{"max-too-large", func(c *Config) { c.MaxVCPUs = 256 }, "maximum of vcpus"},
		{"snp-grows", func(c *Config) { c.TEE, c.Firmware, c.MaxVCPUs = TEESNP, "/f", 3 }, "cannot grow"},
		{"snp-memory-grows", func(c *Config) { c.TEE, c.Firmware, c.MaxMemoryMiB = TEESNP, "/f", 513 }, "cannot grow"},
		{"snp-max-is-size", func(c *Config) { c.TEE, c.Firmware, c.MaxVCPUs, c.MaxMemoryMiB = TEESNP, "/f", 2, 512 }, ""},
		{"tap", func(c *Config) { c.Taps = []Tap{{MAC: "02:00:00:00:00:01", MTU: 1450, File: os.Stdin}} }, ""},
		{"tap-without-device", func(c *Config) { c.Taps = []Tap{{MAC: "02:00:00:00:00:01"}} }, "no open device"},
		{"tap-multicast", func(c *Config) { c.Taps = []Tap{{MAC: "03:00:00:00:00:01", File: os.Stdin}} }, "hardware address"},
		{"tap-option", func(c *Config) { c.Taps = []Tap{{MAC: "02:00:00:00:00:01,romfile=/x", File: os.Stdin}} }, "hardware address"},
		{"tap-mtu", func(c *Config) { c.Taps = []Tap{{MAC: "02:00:00:00:00:01", MTU: 65536, File: os.Stdin}} }, "MTU"},
		{"user", func(c *Config) { c.User = 1 << 31 }, "user"},
		{"transport", func(c *Config) { c.Transport = "pigeon" }, "transport"},
		{"relative-cgroup", func(c *Config) { c.Cgroups = []string{"pod"} }, "cgroup"},
		{"newline-in-path", func(c *Config) { c.TEEDisk = "/a\nb" }, "control character"},
		{"forward", func(c *Config) { c.Network, c.Forward = true, []PortForward{{"", 8080, 80}} }, ""},
		{"forward-without-network", func(c *Config) { c.Forward = []PortForward{{"", 8080, 80}} }, "no network"},
		{"forward-port-zero", func(c *Config) { c.Network, c.Forward = true, []PortForward{{"", 0, 80}} }, "port 0"},
		{"forward-port-large", func(c *Config) { c.Network, c.Forward = true, []PortForward{{"", 80, 65536}} }, "port 65536"},
		{"forward-to-name", func(c *Config) { c.Network, c.Forward = true, []PortForward{{"localhost", 80, 80}} }, "localhost"},
		{"forward-options", func(c *Config) { c.Network, c.Forward = true, []PortForward{{"1.2.3.4,guestfwd=x", 80, 80}} }, "guestfwd"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := good()
			tc.change(&c)
			err := c.Validate()
			switch {
			case tc.want == "" && err != nil:
				t.Fatalf("got %v", err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Fatalf("got %v, want something about %q", err, tc.want)
			}
		})
	}
}

func TestNamesOnTheWire(t *testing.T) {
	if got := (Address{Bus: 0, LUN: 13}).String(); got != "0:13" {
		t.Errorf("address: got %q", got)
	}
	if got := PortName(2); got != "cloister.agent.2" {
		t.Errorf("port: got %q", got)
	}
}
