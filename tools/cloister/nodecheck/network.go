package nodecheck

import (
	"context"
	"fmt"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cloister-cc/cloister/shim/network"
)

// network joins an interface to a tap, as the shim does for a pod, in a namespace that is gone afterwards.
func (h *Host) network(ctx context.Context) Finding {
	f := Finding{What: "network"}
	switch _, err := os.Stat(h.path("/dev/net/tun")); {
	case err != nil:
		f.Level, f.Got, f.Follows, f.Next = Fail, "no /dev/net/tun", "pods with a network do not start", "modprobe tun"
		return f
	case h.Root != "":
		return Finding{What: "network", Level: OK, Got: "/dev/net/tun"}
	case os.Geteuid() != 0:
		return Finding{What: "network", Level: Note, Got: "/dev/net/tun is there; redirects were not tried without root"}
	}
	if err := tryNetwork(ctx); err != nil {
		f.Level, f.Got, f.Follows = Fail, fmt.Sprintf("%v", err), "pods with a network do not start"
		f.Next = "modprobe cls_u32 act_mirred sch_ingress tun, or a kernel that has them"
		return f
	}
	f.Level, f.Got = OK, "an interface was joined to a tap (u32, mirred)"
	return f
}

// tryNetwork joins the interface of a namespace that lives as long as the thread that made it.
func tryNetwork(ctx context.Context) error {
	type made struct {
		path string
		err  error
	}
	ready, done := make(chan made), make(chan struct{})
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and the namespace with that
		path, err := makeNamespace()
		ready <- made{path, err}
		<-done
	}()
	defer close(done)
	ns := <-ready
	if ns.err != nil {
		return ns.err
	}
	pod, err := network.Join(ctx, ns.path, 1)
	if err != nil {
		return err
	}
	return pod.Close()
}

// makeNamespace gives this thread a network namespace with what CNI would have made.
func makeNamespace() (string, error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return "", fmt.Errorf("new network namespace: %w", err)
	}
	link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0", MTU: 1500}, PeerName: "peer"}
	if err := netlink.LinkAdd(link); err != nil {
		return "", fmt.Errorf("veth pair: %w", err)
	}
	addr, err := netlink.ParseAddr("192.0.2.2/24")
	if err != nil {
		return "", err
	}
	if err := netlink.AddrAdd(link, addr); err != nil {
		return "", fmt.Errorf("address: %w", err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return "", fmt.Errorf("veth pair: %w", err)
	}
	return fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), nil
}
