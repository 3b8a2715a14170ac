package boot

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/agent/api"
	"github.com/cloister-cc/cloister/guest"
	"github.com/cloister-cc/cloister/shim/vm"
)

// guestEnv names a development image of the guest, as for the suite in tests/e2e.
const guestEnv = "CLOISTER_E2E_GUEST"

const noContainers = `package policy
api_version := "0.11.0"
framework_version := "0.4.0"
containers := []
`

// A pod's VM as a node boots it: QEMU as a user without rights, in control groups, on a tap of the pod's network namespace, with room to grow.
func TestPodVM(t *testing.T) {
	image := os.Getenv(guestEnv)
	if image == "" || os.Getuid() != 0 {
		t.Skipf("run as root with %s, the directory of `cloister guest build --dev`", guestEnv)
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the network namespace ends with the thread
		done <- errors.Join(unix.Unshare(unix.CLONE_NEWNET), podVM(t, image))
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func podVM(t *testing.T, image string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	g, err := OpenGuest(image)
	if err != nil {
		return err
	}
	kernel, err := guest.VMLinux(g.Kernel)
	if err != nil {
		return err
	}
	tap, err := upTap("10.77.0.1/24")
	if err != nil {
		return err
	}
	defer tap.Close()
	dir := t.TempDir()
	c := vm.Config{
		ID: "pod", Dir: filepath.Join(dir, "vm"), Kernel: kernel, Initrd: g.Initrd, Cmdline: g.Cmdline, Console: filepath.Join(dir, "console"),
		VCPUs: 1, MemoryMiB: 512, MaxVCPUs: 4, MaxMemoryMiB: 2048, TEE: vm.TEEEmulated, HostData: sha256.Sum256([]byte(noContainers)),
		User: 61999, Cgroups: testCgroups(t), Taps: []vm.Tap{{MAC: "02:00:00:00:00:07", MTU: 1400, File: tap}},
	}
	if err := os.Mkdir(c.Dir, 0o700); err != nil {
		return err
	}
	tee := TEE{Guest: g, Emulator: filepath.Join(dir, "authority")}
	if err := tee.Prepare(ctx, &c); err != nil {
		return err
	}
	machine, client, err := BootVM(ctx, c, os.Stderr)
	if err != nil {
		console, _ := os.ReadFile(c.Console)
		return fmt.Errorf("%w\n%s", err, console)
	}
	err = usePod(ctx, machine, client)
	client.Close()
	return errors.Join(err, machine.Stop(ctx))
}

func usePod(ctx context.Context, machine vm.VM, client *Client) error {
	if _, err := client.SetPolicy(ctx, &api.SetPolicyRequest{Policy: noContainers}); err != nil {
		return err
	}
	_, err := client.UpdateInterface(ctx, &api.UpdateInterfaceRequest{Interface: &api.Interface{
		Name: "eth0", Device: "eth0", HwAddr: "02:00:00:00:00:07", Mtu: 1400,
		IPAddresses: []*api.IPAddress{{Family: api.IPFamily_v4, Address: "10.77.0.2", Mask: "24"}},
	}})
	if err != nil {
		return err
	}
	// Nobody listens there: that the guest says so shows that frames go both ways.
	if _, err := net.DialTimeout("tcp", "10.77.0.2:7", 20*time.Second); !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("connect to the guest: got %w, want %w", err, unix.ECONNREFUSED)
	}
	size, err := machine.(vm.Growable).Resize(ctx, 3, 1024)
	if want := (vm.Size{VCPUs: 3, MemoryMiB: 1024}); err != nil || size != want {
		return fmt.Errorf("grow: got %+v, %w, want %+v", size, err, want)
	}
	// The agent answers once the guest's kernel runs on as many more.
	if _, err := client.OnlineCPUMem(ctx, &api.OnlineCPUMemRequest{Wait: true, NbCpus: 2}); err != nil {
		return fmt.Errorf("bring online: %w", err)
	}
	return client.Check(ctx)
}

// upTap makes a tap in the thread's network namespace and gives the host's side of it an address.
func upTap(address string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	request, err := unix.NewIfreq("tap0")
	if err != nil {
		return nil, err
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	link, err := netlink.LinkByName("tap0")
	if err != nil {
		return nil, err
	}
	addr, err := netlink.ParseAddr(address)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "tap0"), errors.Join(netlink.AddrAdd(link, addr), netlink.LinkSetUp(link))
}

// testCgroups makes a group where this machine lets us.
func testCgroups(t *testing.T) (dirs []string) {
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/memory"} {
		dir := filepath.Join(root, "cloister-boot-test-"+strconv.Itoa(os.Getpid()))
		if _, err := os.Stat(filepath.Join(root, "cgroup.procs")); err != nil || os.Mkdir(dir, 0o755) != nil {
			continue
		}
		t.Cleanup(func() {
			if err := os.Remove(dir); err != nil {
				t.Error(err)
			}
		})
		dirs = append(dirs, dir)
	}
	return dirs
}
