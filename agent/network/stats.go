package network

import (
	"context"
	"fmt"

	"github.com/cloister-cc/cloister/agent/api"
)

// Stats answers the counters of the virtio-net devices: the pod's network, which all its containers share.
func (n *Network) Stats(ctx context.Context) ([]*api.NetworkStats, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	links, err := n.virtioLinks()
	if err != nil {
		return nil, fmt.Errorf("read network statistics: %w", err)
	}
	var list []*api.NetworkStats
	for _, link := range links {
		s := link.Attrs().Statistics
		if s == nil {
			continue
		}
		list = append(list, &api.NetworkStats{
			Name:    link.Attrs().Name,
			RxBytes: s.RxBytes, RxPackets: s.RxPackets, RxErrors: s.RxErrors, RxDropped: s.RxDropped,
			TxBytes: s.TxBytes, TxPackets: s.TxPackets, TxErrors: s.TxErrors, TxDropped: s.TxDropped,
		})
	}
	return list, nil
}
