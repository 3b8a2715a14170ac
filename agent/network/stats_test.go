package network

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/cloister-cc/cloister/agent/api"
)

func TestStats(t *testing.T) {
	n, k := newFake(t)
	for i, l := range k.links {
		base := uint64(10 * i)
		l.Statistics = &netlink.LinkStatistics{
			RxBytes: base + 1, RxPackets: base + 2, RxErrors: base + 3, RxDropped: base + 4,
			TxBytes: base + 5, TxPackets: base + 6, TxErrors: base + 7, TxDropped: base + 8,
		}
	}
	got, err := n.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// lo and the device that is not virtio-net are not the pod's.
	want := []*api.NetworkStats{
		{Name: "eth0", RxBytes: 11, RxPackets: 12, RxErrors: 13, RxDropped: 14, TxBytes: 15, TxPackets: 16, TxErrors: 17, TxDropped: 18},
		{Name: "eth1", RxBytes: 21, RxPackets: 22, RxErrors: 23, RxDropped: 24, TxBytes: 25, TxPackets: 26, TxErrors: 27, TxDropped: 28},
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("statistics (-want +got):\n%s", diff)
	}
}
