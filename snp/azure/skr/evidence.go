package skr

import (
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/azure/certs"
	"github.com/cloister-cc/cloister/snp/azure/internal/call"
	"github.com/cloister-cc/cloister/snp/azure/maa"
)

// Source makes evidence over runtime data: a report whose REPORT_DATA begins with its SHA-256, with the chain that belongs to it.
type Source interface {
	Evidence(ctx context.Context, runtime []byte) (maa.Evidence, error)
}

// Device makes evidence with the guest's report device.
type Device struct {
	Device snp.Device
	Certs  certs.Source
	UVM    []byte // the utility VM's endorsement, COSE_Sign1; nil has none
}

// Evidence asks the device, and looks for the chain.
func (d Device) Evidence(ctx context.Context, runtime []byte) (maa.Evidence, error) {
	ev, err := d.Device.Report(ctx, snp.HashedReportData(runtime))
	if err != nil {
		return maa.Evidence{}, fmt.Errorf("evidence: %w", err)
	}
	report, err := snp.ParseReport(ev.Report)
	if err != nil {
		return maa.Evidence{}, fmt.Errorf("evidence: %w", err)
	}
	chain, err := d.Certs.Chain(ctx, report)
	if err != nil {
		return maa.Evidence{}, fmt.Errorf("evidence: %w", err)
	}
	out := maa.Evidence{Report: ev.Report, Chain: chain.PEM()}
	if len(d.UVM) > 0 {
		out.Endorsements = [][]byte{d.UVM}
	}
	return out, nil
}

// Agent asks the agent, on the socket that it gives a container whose policy grants it.
type Agent struct{ call call.Client }

// NewAgent asks on a Unix socket.
func NewAgent(socket string) *Agent {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}
	return &Agent{call.Client{HTTP: &http.Client{Transport: &http.Transport{DialContext: dial}}}}
}

// combined is the agent's answer (Azure services contract, section 1.3).
type combined struct {
	Evidence     []byte `json:"evidence"`
	Endorsements []byte `json:"endorsements"`
	UVM          []byte `json:"uvm_endorsements"`
}

// Evidence asks for report and chain together: the agent has compared them.
func (a *Agent) Evidence(ctx context.Context, runtime []byte) (maa.Evidence, error) {
	body := map[string]string{"runtime_data": base64.StdEncoding.EncodeToString(runtime)}
	var answer combined
	if err := a.call.JSON(ctx, call.Question{Method: http.MethodPost, URL: "http://agent/attest/combined", Body: body, Plain: true}, &answer); err != nil {
		return maa.Evidence{}, fmt.Errorf("evidence: %w", err)
	}
	out := maa.Evidence{Report: answer.Evidence, Chain: answer.Endorsements}
	if len(answer.UVM) > 0 {
		out.Endorsements = [][]byte{answer.UVM}
	}
	return out, nil
}
