package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"os"

	"go.uber.org/zap"

	"github.com/cloister-cc/cloister/agent/attest"
	"github.com/cloister-cc/cloister/agent/gate"
	"github.com/cloister-cc/cloister/agent/initdata"
	"github.com/cloister-cc/cloister/agent/sandbox"
	"github.com/cloister-cc/cloister/enforcer/fragment"
	"github.com/cloister-cc/cloister/snp"
)

// endorsementFile is the initdata document's entry with the endorsement of the guest image: a COSE_Sign1 message in base64.
const endorsementFile = "reference-info.cose"

// maxEndorsement bounds it, in bytes.
const maxEndorsement = 1 << 20

// grantAttest is the mount source by which a policy lets a container ask for evidence.
const grantAttest = "cloister://attest"

// makeBroker puts everything in place by which workloads get evidence. Without a report device there is nothing.
func (a *agent) makeBroker(cfg *sandbox.Config) {
	if a.device == nil {
		return
	}
	a.broker = attest.New(a.device, attest.Options{
		Policy: a.policyOfBundles, UVMEndorsement: a.endorsementOfImage, Events: a.gate.Events(), Version: version,
	})
	cfg.Broker, a.rpc.Evidence = a.broker, a.broker.HostBundle
	cfg.Context = a.securityContext
	if _, err := os.Stat(snp.DefaultDevicePath); err == nil {
		cfg.ReportDevice = snp.DefaultDevicePath
	}
}

// policyOfBundles is the bound policy as bundles carry it: one value for ever, so that it is encoded once.
func (a *agent) policyOfBundles() *attest.Policy {
	if p := a.bundled.Load(); p != nil {
		return p
	}
	p := a.gate.Policy()
	if p == nil {
		return nil
	}
	out := &attest.Policy{Text: p.Text, Carrier: snp.CarrierPolicy, Initdata: p.Initdata, Digest: p.Digest}
	if p.Initdata != nil {
		out.Carrier = snp.CarrierInitdata
	}
	a.bundled.CompareAndSwap(nil, out)
	return a.bundled.Load()
}

// endorsementOfImage is what the image's maker says of its measurement: as the initdata document has it, else as it was loaded.
func (a *agent) endorsementOfImage() []byte {
	if a.endorsement != nil {
		return a.endorsement
	}
	if p := a.gate.Policy(); p != nil {
		return p.Enforcer.ReferenceInfo(fragment.MediaTypePlatformReference)
	}
	return nil
}

// readEndorsement takes the endorsement out of an initdata document that has one.
func readEndorsement(d *initdata.Document) ([]byte, error) {
	text, ok := d.Data[endorsementFile]
	if !ok {
		return nil, nil
	}
	if len(text) > base64.StdEncoding.EncodedLen(maxEndorsement) {
		return nil, fmt.Errorf("%s: got %d bytes, want at most %d before base64", endorsementFile, len(text), maxEndorsement)
	}
	cose, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(cose) == 0 {
		return nil, fmt.Errorf("%s: not base64", endorsementFile)
	}
	return cose, nil
}

// securityContext is what ACI's workloads find beside the policy (policy contract, section 4.3). What the guest does not have is not there.
func (a *agent) securityContext() []sandbox.ContextFile {
	var out []sandbox.ContextFile
	add := func(name string, content []byte) {
		if len(content) > 0 {
			out = append(out, sandbox.ContextFile{Name: name, Content: content})
		}
	}
	if ev := a.self.Load(); ev != nil {
		certs, err := attest.HostCertificates(*ev)
		if err != nil {
			a.log.Info("no host certificates for the security context", zap.Error(err))
		}
		add("host-amd-cert-base64", certs)
	}
	add("reference-info-base64", a.endorsementOfImage())
	if p := a.gate.Policy(); p != nil {
		add("tcb-reference-info-base64", p.Enforcer.ReferenceInfo(fragment.MediaTypeTCBReference))
		add("platform-reference-info-base64", p.Enforcer.ReferenceInfo(fragment.MediaTypePlatformReference))
	}
	return out
}

// openEvidenceListener opens CoCo's port where the policy's text lets a container ask for evidence. It is open before any container can be: none of them may
// answer in the agent's place. Where it cannot be opened, containers still have their own sockets.
func (a *agent) openEvidenceListener(ctx context.Context, p *gate.Policy) {
	if a.broker == nil || !bytes.Contains(p.Text, []byte(grantAttest)) {
		return
	}
	if err := a.broker.ListenTCP(ctx); err != nil {
		a.log.Error("evidence over TCP", zap.Error(err))
	}
}
