package attest

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/coco"
	"github.com/cloister-cc/cloister/snp/identity"
)

// maxRawRuntimeData is what CoCo's call may put into REPORT_DATA as it is, in bytes: the last 16 stay zero.
const maxRawRuntimeData = 48

// decode reads one JSON document and nothing after it.
func decode(r *http.Request, into any) error {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(body, into)
	}
	var large *http.MaxBytesError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &large):
		return refuse(http.StatusRequestEntityTooLarge, "body: got more than %d bytes", large.Limit)
	default:
		return refuse(http.StatusBadRequest, "body: %v", err)
	}
}

// runtimeData reads the request of the Azure shapes.
func runtimeData(r *http.Request) ([]byte, error) {
	var req struct {
		RuntimeData string `json:"runtime_data"`
	}
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	data, err := base64.StdEncoding.DecodeString(req.RuntimeData)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "runtime_data: %v", err)
	}
	if len(data) == 0 {
		return nil, refuse(http.StatusBadRequest, "runtime_data: missing")
	}
	return data, nil
}

// nonceOf reads the request of our own calls: {"nonce": HEX}.
func nonceOf(r *http.Request) ([]byte, error) {
	var req struct {
		Nonce string `json:"nonce"`
	}
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	nonce, err := hex.DecodeString(req.Nonce)
	if err != nil || checkNonce(nonce) != nil {
		return nil, refuse(http.StatusBadRequest, "nonce: want %d to %d bytes in hex", minNonce, maxNonce)
	}
	return nonce, nil
}

// status answers GET /status: that somebody answers is what it says.
func (s *subject) status(context.Context, *http.Request) (*document, error) {
	return literal([]byte(`{"message":"Status OK"}`)), nil
}

// raw answers POST /attest/raw with {"report": HEX}.
func (s *subject) raw(ctx context.Context, r *http.Request) (*document, error) {
	data, err := runtimeData(r)
	if err != nil {
		return nil, err
	}
	ev, err := s.questions.report(ctx, snp.HashedReportData(data))
	if err != nil {
		return nil, err
	}
	b := append(make([]byte, 0, 2*snp.ReportSize+16), `{"report":"`...)
	b = hex.AppendEncode(b, ev.Report)
	return literal(append(b, `"}`...)), nil
}

// combinedAnswer is the answer of /attest/combined.
type combinedAnswer struct {
	Evidence        []byte `json:"evidence"`     // report
	Endorsements    []byte `json:"endorsements"` // PEM: signing key, ASK, ARK
	UVMEndorsements []byte `json:"uvm_endorsements"`
	EndorsedTCB     string `json:"endorsed_tcb"` // hex of a 64-bit number
}

// combined answers POST /attest/combined. Report and certificates come from the host together, and it can be late with the certificates after
// it changed its firmware: when they do not fit, they are asked for once more.
func (s *subject) combined(ctx context.Context, r *http.Request) (*document, error) {
	data, err := runtimeData(r)
	if err != nil {
		return nil, err
	}
	var ev snp.Evidence
	var chain *endorsement
	for range 2 {
		if ev, err = s.questions.report(ctx, snp.HashedReportData(data)); err != nil {
			return nil, err
		}
		if chain, err = endorsementOf(ev); !errors.Is(err, errStale) {
			break
		}
		s.questions.forget()
	}
	if err != nil {
		return nil, err
	}
	uvm := s.broker.opt.UVMEndorsement()
	if uvm == nil {
		uvm = []byte{} // an empty string, not null: clients decode a string
	}
	return marshalled(combinedAnswer{Evidence: ev.Report, Endorsements: chain.pem(), UVMEndorsements: uvm, EndorsedTCB: tcbText(chain.tcb)})
}

// bundle answers POST /attest/bundle: evidence of the pod over a nonce, as the document that "cloister attest verify" reads.
func (s *subject) bundle(ctx context.Context, r *http.Request) (*document, error) {
	nonce, err := nonceOf(r)
	if err != nil {
		return nil, err
	}
	ev, err := s.questions.report(ctx, snp.HashedReportData(nonce))
	if err != nil {
		return nil, err
	}
	return s.broker.bundle(ev, nil), nil
}

// evidence answers POST /v1/evidence: evidence that names the container that asks, at its own socket (route.ownSocket). REPORT_DATA is the SHA-512 of the preimage beside it.
func (s *subject) evidence(ctx context.Context, r *http.Request) (*document, error) {
	nonce, err := nonceOf(r)
	if err != nil {
		return nil, err
	}
	policy := s.broker.opt.Policy()
	if policy == nil || s.broker.opt.Events == nil {
		return nil, errors.New("no policy is bound: there is nothing to be identified by")
	}
	head, events := s.broker.pieces.ofEvents(s.broker.opt.Events)
	preimage, err := s.id.preimage(policy.Digest, head, nonce)
	if err != nil {
		return nil, err
	}
	ev, err := s.questions.report(ctx, identity.ReportData(preimage))
	if err != nil {
		return nil, err
	}
	return s.broker.bundle(ev, preimage, events), nil
}

// infoAnswer is the answer of CoCo's GET /info.
type infoAnswer struct {
	Version  string   `json:"version"`
	TEE      string   `json:"tee"`
	Features []string `json:"features"`
}

func (s *subject) info(context.Context, *http.Request) (*document, error) {
	return marshalled(infoAnswer{Version: s.broker.opt.Version, TEE: "snp", Features: []string{"attestation"}})
}

// cocoEvidence answers CoCo's GET /aa/evidence: the caller's bytes are REPORT_DATA itself, padded with zeros.
func (s *subject) cocoEvidence(ctx context.Context, r *http.Request) (*document, error) {
	data, err := cocoRuntimeData(r)
	if err != nil {
		return nil, err
	}
	var reportData [64]byte
	copy(reportData[:], data)
	ev, err := s.questions.report(ctx, reportData)
	if err != nil {
		return nil, err
	}
	report, err := snp.ParseReport(ev.Report)
	if err != nil {
		return nil, err
	}
	out, err := coco.New(report, ev.Certs)
	if err != nil {
		return nil, err
	}
	return marshalled(out)
}

func cocoRuntimeData(r *http.Request) ([]byte, error) {
	query := r.URL.Query()
	if len(query["runtime_data"]) != 1 || len(query["encoding"]) > 1 {
		return nil, refuse(http.StatusBadRequest, "runtime_data: want it once")
	}
	data := []byte(query.Get("runtime_data"))
	switch query.Get("encoding") {
	case "":
	case "base64":
		var err error
		if data, err = base64.RawURLEncoding.DecodeString(query.Get("runtime_data")); err != nil {
			return nil, refuse(http.StatusBadRequest, "runtime_data: want URL-safe base64 without padding")
		}
	default:
		return nil, refuse(http.StatusBadRequest, `encoding: want none or "base64"`)
	}
	if len(data) > maxRawRuntimeData {
		return nil, refuse(http.StatusBadRequest, "runtime_data: got %d bytes, want at most %d", len(data), maxRawRuntimeData)
	}
	return data, nil
}
