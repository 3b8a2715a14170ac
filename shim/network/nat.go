package network

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// natTable is our table of nftables in the pod's namespace.
const natTable = "cloister"

var localhost = netip.MustParseAddr("127.0.0.1")

// addNAT sends TCP connections for 127.0.0.1 to the guest's half, as from the host's half. Whatever else the guest says to the namespace itself is dropped:
// it answers, it does not ask.
func addNAT(tap string) error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: natTable})
	out := conn.AddChain(&nftables.Chain{
		Name: "output", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityNATDest,
	})
	conn.AddRule(&nftables.Rule{Table: table, Chain: out, Exprs: slices.Concat(
		metaIs(expr.MetaKeyL4PROTO, []byte{unix.IPPROTO_TCP}),
		addressIs(ipv4Destination, localhost),
		translate(expr.NATTypeDestNAT, GuestHalf),
	)})
	post := conn.AddChain(&nftables.Chain{
		Name: "postrouting", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	conn.AddRule(&nftables.Rule{Table: table, Chain: post, Exprs: slices.Concat(
		metaIs(expr.MetaKeyOIFNAME, ifname(tap)),
		addressIs(ipv4Source, localhost),
		translate(expr.NATTypeSourceNAT, HostHalf),
	)})
	in := conn.AddChain(&nftables.Chain{
		Name: "input", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter,
	})
	conn.AddRule(&nftables.Rule{Table: table, Chain: in, Exprs: slices.Concat(
		metaIs(expr.MetaKeyIIFNAME, ifname(tap)),
		notAnAnswer(),
		[]expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}},
	)})
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("translate addresses by nftables (kernel: CONFIG_NF_TABLES, CONFIG_NFT_NAT): %w", err)
	}
	return nil
}

// removeNAT removes our table, where there is one.
func removeNAT() error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyIPv4)
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil // a kernel without nftables
	}
	if err != nil {
		return fmt.Errorf("list tables of nftables: %w", err)
	}
	for _, table := range tables {
		if table.Name != natTable {
			continue
		}
		conn.DelTable(table)
		if err := conn.Flush(); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove table %q of nftables: %w", natTable, err)
		}
	}
	return nil
}

// Offsets in an IPv4 header.
const (
	ipv4Source      = 12
	ipv4Destination = 16
)

func metaIs(key expr.MetaKey, value []byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: value}}
}

func addressIs(offset uint32, addr netip.Addr) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: addr.AsSlice()},
	}
}

func translate(kind expr.NATType, to netip.Addr) []expr.Any {
	return []expr.Any{
		&expr.Immediate{Register: 1, Data: to.AsSlice()},
		&expr.NAT{Type: kind, Family: unix.NFPROTO_IPV4, RegAddrMin: 1},
	}
}

// notAnAnswer holds for packets that belong to no connection begun in the namespace.
func notAnAnswer() []expr.Any {
	const known = expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(known), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: make([]byte, 4)},
	}
}

// ifname is a link's name as nftables compares it.
func ifname(name string) []byte { return append([]byte(name), 0) }
