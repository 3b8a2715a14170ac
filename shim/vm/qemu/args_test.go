package qemu

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cloister-cc/cloister/shim/vm"
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

// HOST_DATA goes to the processor alone: under an emulated TEE it travels on the TEE disk.
func TestHostDataOnlyInSNPArguments(t *testing.T) {
	c := config()
	c.TEE, c.HostData = vm.TEEEmulated, [32]byte{1, 2, 3}
	if all := strings.Join(Args(c), " "); strings.Contains(all, "host-data") {
		t.Error("host-data in the arguments of an emulated TEE")
	}
}
