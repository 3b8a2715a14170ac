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
		{"commas", func(c *vm.Config) {
			c.ID, c.Console = "a,process=b", "/tmp/x,y/console"
			c.TEEDisk = "/tmp/x,readonly=off"
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := config()
			tc.change(&c)
			got := strings.Join(Args(c), "\n") + "\n"
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
	all := strings.Join(Args(c), " ")
	for _, want := range []string{"kernel-hashes=on", "-bios /guest/OVMF.fd", "-cpu " + snpCPU + " ", "policy=0x30000,"} {
		if !strings.Contains(all, want) {
			t.Errorf("arguments lack %q", want)
		}
	}
	if strings.Contains(all, "id-block") {
		t.Error("an ID block that nobody gave")
	}
	c.LaunchID = signedLaunch(t)
	c.LaunchID.AuthorKey = false
	if all := strings.Join(Args(c), " "); !strings.Contains(all, "author-key-enabled=off") {
		t.Error("author's key enabled without one")
	}
}

// HOST_DATA goes to the processor alone: under an emulated TEE it travels on the TEE disk.
func TestHostDataOnlyInSNPArguments(t *testing.T) {
	c := config()
	c.TEE, c.HostData = vm.TEEEmulated, [32]byte{1, 2, 3}
	if all := strings.Join(Args(c), " "); strings.Contains(all, "host-data") {
		t.Error("host-data in the arguments of an emulated TEE")
	}
}
