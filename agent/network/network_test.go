package network

import (
	"errors"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/cloister-cc/cloister/agent/api"
)

func TestUpdateInterface(t *testing.T) {
	n, k := newFake(t)
	got, err := n.UpdateInterface(t.Context(), &api.Interface{
		Device: "eth0", Name: "eth0", HwAddr: mac0, Mtu: 1400, RawFlags: 0x80,
		IPAddresses: []*api.IPAddress{v4("10.0.2.15", "24"), v6("2001:db8::15", "64")},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := &api.Interface{
		Device: "eth0", Name: "eth0", HwAddr: mac0, Mtu: 1400, RawFlags: 0x80, Type: "dummy",
		IPAddresses: []*api.IPAddress{v6("fe80::1", "64"), v4("10.0.2.15", "24"), v6("2001:db8::15", "64")},
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	if k.links[1].Flags&net.FlagUp == 0 {
		t.Error("device is down")
	}
	// The same request again is no change but bringing it up.
	calls := k.calls
	if _, err := n.UpdateInterface(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	if k.calls != calls+1 {
		t.Errorf("repeated request: got %d changes, want 1", k.calls-calls)
	}
}

func TestUpdateInterfaceSwapsNames(t *testing.T) {
	n, k := newFake(t)
	if _, err := n.UpdateInterface(t.Context(), iface("eth0", mac1)); err != nil {
		t.Fatal(err)
	}
	if k.links[1].Name != "eth1" || k.links[2].Name != "eth0" {
		t.Errorf("got %s and %s, want eth1 and eth0", k.links[1].Name, k.links[2].Name)
	}
	if k.links[1].Flags&net.FlagUp == 0 {
		t.Error("the device that gave its name away stayed down")
	}
}

// TestFailureAtEveryStepIsUndone lets each change of each request fail in turn and expects the state from before.
func TestFailureAtEveryStepIsUndone(t *testing.T) {
	neighbour := func(ip, mac string) *api.ARPNeighbor {
		return &api.ARPNeighbor{ToIPAddress: v4(ip, ""), Device: "eth0", Lladdr: mac, State: 0x80}
	}
	requests := map[string]func(*Network) error{
		"interface": func(n *Network) error {
			req := iface("eth5", mac0, v4("10.0.2.15", "24"), v6("2001:db8::15", "64"))
			req.RawFlags = 0x80
			_, err := n.UpdateInterface(t.Context(), req)
			return err
		},
		"interface-swap": func(n *Network) error {
			_, err := n.UpdateInterface(t.Context(), iface("eth0", mac1, v4("10.0.2.15", "24")))
			return err
		},
		"routes": func(n *Network) error {
			_, err := n.UpdateRoutes(t.Context(), []*api.Route{
				{Gateway: "198.51.100.1", Device: "eth0"}, {Dest: "198.51.100.0/24", Device: "eth0", Scope: 253},
			})
			return err
		},
		"neighbours": func(n *Network) error {
			return n.AddARPNeighbors(t.Context(), []*api.ARPNeighbor{neighbour("192.0.2.1", mac1), neighbour("192.0.2.7", mac7)})
		},
	}
	for name, request := range requests {
		t.Run(name, func(t *testing.T) {
			n, k := newFake(t)
			if err := request(n); err != nil {
				t.Fatalf("without a failure: %v", err)
			}
			total := k.calls
			if total < 2 {
				t.Fatalf("got %d changes, want a request worth testing", total)
			}
			for i := 1; i <= total; i++ {
				n, k := newFake(t)
				before := k.state()
				k.failAt = i
				err := request(n)
				if !errors.Is(err, errInjected) {
					t.Fatalf("change %d: got error %v, want the injected one", i, err)
				}
				if diff := cmp.Diff(before, k.state()); diff != "" {
					t.Errorf("change %d left (-before +after):\n%s", i, diff)
				}
			}
		})
	}
}

func TestUpdateRoutesReplacesAllButTheKernels(t *testing.T) {
	n, k := newFake(t)
	got, err := n.UpdateRoutes(t.Context(), []*api.Route{
		{Dest: "", Gateway: "198.51.100.1", Device: "eth0"}, // before the route that reaches its gateway
		{Dest: "198.51.100.0/24", Device: "eth0", Scope: 253, Mtu: 1400},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []*api.Route{
		{Dest: "192.0.2.0/24", Device: "eth0"},
		{Dest: "198.51.100.0/24", Device: "eth0", Scope: 253, Mtu: 1400},
		{Gateway: "198.51.100.1", Device: "eth0"},
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	if len(k.routes) != 3 {
		t.Errorf("got %d routes in the kernel, want 3", len(k.routes))
	}
}

// Hosts also send the route that the kernel made with the address; it is there already and stays the kernel's.
func TestUpdateRoutesTakesTheKernelsOwnRoute(t *testing.T) {
	n, k := newFake(t)
	before := len(k.routes)
	got, err := n.UpdateRoutes(t.Context(), []*api.Route{{Dest: "192.0.2.0/24", Device: "eth0"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) == 0 || got[0].Dest != "192.0.2.0/24" || len(k.routes) > before {
		t.Errorf("got %v and %d routes in the kernel, want the kernel's own once", got, len(k.routes))
	}
}

// TestUndoThatFailsIsReported: two failures in a row must both be in the answer, or the state is believed clean.
func TestUndoThatFailsIsReported(t *testing.T) {
	cause, second := errors.New("first"), errors.New("second")
	u := undo{func() error { return nil }, func() error { return second }}
	if err := u.run(cause); !errors.Is(err, cause) || !errors.Is(err, second) {
		t.Errorf("got %v, want both failures", err)
	}
	if err := (undo{}).run(cause); err != cause { //nolint:errorlint // identity is meant
		t.Errorf("got %v, want the cause alone", err)
	}
}

func TestSetupLoopback(t *testing.T) {
	n, k := newFake(t)
	k.links[0].Flags &^= net.FlagUp
	if err := n.SetupLoopback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if k.links[0].Flags&net.FlagUp == 0 {
		t.Error("lo is down")
	}
	k.links = k.links[1:]
	if err := n.SetupLoopback(t.Context()); !errors.Is(err, ErrLinkNotFound) {
		t.Errorf("without lo: got %v, want ErrLinkNotFound", err)
	}
}

func TestListInterfaces(t *testing.T) {
	n, _ := newFake(t)
	list, err := n.ListInterfaces(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, i := range list {
		names = append(names, i.Name)
	}
	if got, want := strings.Join(names, " "), "lo eth0 eth1 eth7"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	routes, err := n.ListRoutes(t.Context())
	if err != nil || len(routes) != 3 {
		t.Errorf("ListRoutes: got %d routes, %v, want 3", len(routes), err)
	}
	if !slices.ContainsFunc(routes, func(r *api.Route) bool { return r.Dest == "2001:db8::/64" && r.Family == api.IPFamily_v6 }) {
		t.Errorf("ListRoutes: the IPv6 route is missing: %v", routes)
	}
}
