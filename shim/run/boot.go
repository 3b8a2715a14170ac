package run

import (
	"net"

	"github.com/containerd/ttrpc"

	"github.com/cloister-cc/cloister/shim/boot"
)

// What a run shares with the containerd shim, under the names it has there.
type (
	Client    = boot.Client
	Process   = boot.Process
	ProcessIO = boot.ProcessIO
	Layer     = boot.Layer
	Refusal   = boot.Refusal
	Carrier   = boot.Carrier
)

// The two carriers of the policy contract.
const (
	CarrierSetPolicy = boot.CarrierSetPolicy
	CarrierInitdata  = boot.CarrierInitdata
)

// ErrNoSNP says that this host cannot launch an SNP VM.
var ErrNoSNP = boot.ErrNoSNP

// NewClient takes over a connection to the agent.
func NewClient(conn net.Conn, opts ...ttrpc.ClientOpts) *Client { return boot.NewClient(conn, opts...) }

// AsRefusal finds the refusal in an error's chain.
func AsRefusal(err error) (Refusal, bool) { return boot.AsRefusal(err) }
