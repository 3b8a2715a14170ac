package qemu

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloister-cc/cloister/shim/vm"
	"github.com/cloister-cc/cloister/snp/measure"
	"github.com/cloister-cc/cloister/snp/measure/idblock"
)

var update = flag.Bool("update", false, "write the golden files")

func config() vm.Config {
	return vm.Config{
		ID: "demo", Dir: "/run/cloister/demo", Kernel: "/guest/vmlinuz", Initrd: "/guest/initrd.img",
		Cmdline: "console=ttyS0 quiet loglevel=3 panic=-1 reboot=t", Console: "/run/cloister/demo/console.log",
		VCPUs: 2, MemoryMiB: 512, TEE: vm.TEENone,
	}
}

// numbers are descriptors as prepare would hand them out.
func numbers(c vm.Config) fds {
	f := fds{qmp: 3, kernel: 4, initrd: 5, console: 6}
	next := 7
	take := func(wanted bool) (n int) {
		if wanted {
			n, next = next, next+1
		}
		return n
	}
	f.firmware = take(c.Firmware != "")
	f.teeDisk = take(c.TEEDisk != "")
	f.initdata = take(c.InitdataDisk != "")
	for range c.Taps {
		f.taps = append(f.taps, take(true))
	}
	f.kvm = take(c.User != 0 && c.Accel == "kvm")
	if c.Transport == vm.TransportVsock {
		f.vsock, f.cid = take(true), 1234567
		return f
	}
	for range vm.Ports {
		f.ports = append(f.ports, take(true))
	}
	return f
}

func TestArgsGolden(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*vm.Config)
	}{
		{"tcg", func(c *vm.Config) { c.Accel = "tcg" }},
		{"kvm", func(c *vm.Config) { c.Accel = "kvm" }},
		{"emulated", func(c *vm.Config) {
			c.TEE, c.TEEDisk = vm.TEEEmulated, "/run/cloister/demo/tee.img"
			c.InitdataDisk = "/run/cloister/demo/initdata.img"
		}},
		{"network", func(c *vm.Config) {
			c.Network = true
			c.Forward = []vm.PortForward{{HostPort: 8080, GuestPort: 80}, {HostIP: "0.0.0.0", HostPort: 8443, GuestPort: 443}}
		}},
		{"snp", func(c *vm.Config) {
			c.TEE, c.Firmware, c.Network = vm.TEESNP, "/guest/OVMF.fd", true
			c.InitdataDisk = "/run/cloister/demo/initdata.img"
			for i := range c.HostData {
				c.HostData[i] = byte(i)
			}
		}},
		{"snp-id-block", func(c *vm.Config) {
			c.TEE, c.Firmware = vm.TEESNP, "/guest/OVMF.fd"
			c.LaunchID = signedLaunch(t)
		}},
		{"snp-pod", func(c *vm.Config) { // as the containerd shim launches one
			c.TEE, c.Accel, c.Firmware, c.User, c.Transport = vm.TEESNP, "kvm", "/guest/OVMF.fd", 990, vm.TransportVsock
			c.MaxVCPUs, c.MaxMemoryMiB = 2, 512
			c.Taps = []vm.Tap{{MAC: "02:00:00:00:00:01", MTU: 1450}, {MAC: "02:00:00:00:00:02"}}
		}},
		{"grows", func(c *vm.Config) { c.MaxVCPUs, c.MaxMemoryMiB = 8, 2000 }},
		{"commas", func(c *vm.Config) {
			c.ID, c.Console = "a,process=b", "/tmp/x,y/console"
			c.TEEDisk = "/tmp/x,readonly=off"
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := config()
			tc.change(&c)
			got := strings.Join(arguments(c, numbers(c)), "\n") + "\n"
			golden := filepath.Join("testdata", "args-"+tc.name+".golden")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("arguments differ (-want +got):\n%s", diff)
			}
		})
	}
}

// signedLaunch is an ID block that package idblock signed with fixed keys: its signatures have no randomness.
func signedLaunch(t *testing.T) *vm.LaunchID {
	t.Helper()
	policy, err := strconv.ParseUint(snpPolicy, 0, 64)
	if err != nil {
		t.Fatal(err)
	}
	b := &idblock.Block{LaunchDigest: measure.Digest{1, 2, 3}, GuestSVN: 3, Policy: policy}
	key := func(seed byte) *ecdsa.PrivateKey {
		k, err := ecdsa.ParseRawPrivateKey(elliptic.P384(), bytes.Repeat([]byte{seed}, 48))
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	auth, err := idblock.Sign(b, key(1), key(2))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := auth.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return &vm.LaunchID{Block: b.Marshal(), Auth: raw, AuthorKey: true}
}

// What is launched is what is measured by default.
func TestSNPArgumentsAreTheMeasuredOnes(t *testing.T) {
	if snpCPU != measure.DefaultCPUType {
		t.Errorf("processor model: got %s, want %s, which cloister measure takes by default", snpCPU, measure.DefaultCPUType)
	}
	c := config()
	c.TEE, c.Firmware = vm.TEESNP, "/guest/OVMF.fd"
	all := strings.Join(arguments(c, numbers(c)), " ")
	for _, want := range []string{"kernel-hashes=on", "-bios /proc/self/fd/7", "-cpu " + snpCPU + " ", "policy=0x30000,"} {
		if !strings.Contains(all, want) {
			t.Errorf("arguments lack %q", want)
		}
	}
	if strings.Contains(all, "id-block") {
		t.Error("an ID block that nobody gave")
	}
	c.LaunchID = signedLaunch(t)
	c.LaunchID.AuthorKey = false
	if all := strings.Join(arguments(c, numbers(c)), " "); !strings.Contains(all, "author-key-enabled=off") {
		t.Error("author's key enabled without one")
	}
}

// HOST_DATA goes to the processor alone: under an emulated TEE it travels on the TEE disk.
func TestHostDataOnlyInSNPArguments(t *testing.T) {
	c := config()
	c.TEE, c.HostData = vm.TEEEmulated, [32]byte{1, 2, 3}
	if all := strings.Join(arguments(c, numbers(c)), " "); strings.Contains(all, "host-data") {
		t.Error("host-data in the arguments of an emulated TEE")
	}
}
