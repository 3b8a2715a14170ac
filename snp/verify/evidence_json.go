package verify

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	kjson "sigs.k8s.io/json"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/coco"
)

// seen is a JSON member of any value that is only looked for.
type seen bool

// UnmarshalJSON implements json.Unmarshaler.
func (s *seen) UnmarshalJSON([]byte) error {
	*s = true
	return nil
}

// shape has the members by which the documents are told apart.
type shape struct {
	Type        seen `json:"type"`
	Version     seen `json:"version"`
	Report      seen `json:"report"`
	Evidence    seen `json:"evidence"`
	RuntimeData seen `json:"runtimeData"`
	CoCo        seen `json:"attestation_report"`
	VCEKCert    seen `json:"vcekCert"`
}

func readDocument(data []byte) (*File, error) {
	var s shape
	if err := kjson.UnmarshalCaseSensitivePreserveInts(data, &s); err != nil {
		return nil, err
	}
	if !s.Type && len(data) > MaxForeign {
		return nil, fmt.Errorf("got %d bytes, want at most %d of anything but a bundle", len(data), MaxForeign)
	}
	switch {
	case bool(s.Type && s.Version):
		return readBundle(data)
	case bool(s.CoCo):
		return readCoCo(data)
	case bool(s.Evidence):
		return readCombined(data)
	case bool(s.Report && s.RuntimeData):
		return readMAA(data)
	case bool(s.Report):
		return readRawAnswer(data)
	case bool(s.VCEKCert):
		return nil, fmt.Errorf("%s: holds certificates and no report", FormatTHIM)
	}
	return nil, errNoEvidence
}

// strict decodes a document and refuses members that are unknown, there twice or spelt in another case: no two readers may see different evidence.
func strict(format Format, data []byte, into any) error {
	more, err := kjson.UnmarshalStrict(data, into)
	if err == nil && len(more) > 0 {
		err = more[0]
	}
	if err != nil {
		return fmt.Errorf("%s: %.300s", format, err) // the sender's words are in it
	}
	return nil
}

func readBundle(data []byte) (*File, error) {
	b, err := snp.ParseBundle(data)
	if err != nil {
		return nil, err
	}
	return &File{
		Format: FormatBundle,
		Evidence: Evidence{
			Report: b.Report, Table: b.Certs, CRLs: b.CRLs, Endorsement: b.UVMEndorsement,
			Preimage: b.Preimage, EventLog: b.EventLog, Policy: b.Policy,
		},
		Carrier: b.Carrier, Initdata: b.Initdata,
	}, nil
}

func readCoCo(data []byte) (*File, error) {
	report, table, err := coco.Parse(data)
	if err != nil {
		return nil, err
	}
	return &File{Format: FormatCoCo, Evidence: Evidence{Report: report, Table: table}}, nil
}

// readCombined reads the answer of /attest/combined (Azure services, section 1.3).
func readCombined(data []byte) (*File, error) {
	var doc struct {
		Evidence        []byte `json:"evidence"`
		Endorsements    []byte `json:"endorsements"` // PEM
		UVMEndorsements []byte `json:"uvm_endorsements"`
		EndorsedTCB     string `json:"endorsed_tcb"`
	}
	if err := strict(FormatCombined, data, &doc); err != nil {
		return nil, err
	}
	f := &File{Format: FormatCombined, Evidence: Evidence{Report: doc.Evidence, Endorsement: doc.UVMEndorsements}}
	if err := f.complete(doc.Endorsements); err != nil {
		return nil, err
	}
	var err error
	if f.ClaimedTCB, err = claimedTCB(doc.EndorsedTCB); err != nil {
		return nil, fmt.Errorf("%s: endorsed_tcb: %w", FormatCombined, err)
	}
	return f, nil
}

// complete checks the report's length and adds a PEM chain.
func (f *File) complete(chain []byte) error {
	if len(f.Evidence.Report) != snp.ReportSize {
		return fmt.Errorf("%s: got a report of %d bytes, want %d", f.Format, len(f.Evidence.Report), snp.ReportSize)
	}
	if len(chain) == 0 {
		return nil
	}
	certs, crls, err := splitPEM(chain)
	if err != nil {
		return fmt.Errorf("%s: certificates: %w", f.Format, err)
	}
	f.Evidence.Certs, f.Evidence.CRLs = certs, crls
	return nil
}

// claimedTCB reads a TCB as the Azure services write it: the eight bytes as one number in hex, the highest byte first. Empty is nothing.
func claimedTCB(text string) (*snp.TCB, error) {
	if text == "" {
		return nil, nil
	}
	n, err := strconv.ParseUint(text, 16, 64)
	if err != nil {
		return nil, fmt.Errorf("got %.32q, want a number of 64 bits in hex", text)
	}
	var t snp.TCB
	binary.LittleEndian.PutUint64(t[:], n)
	return &t, nil
}

func readRawAnswer(data []byte) (*File, error) {
	var doc struct {
		Report string `json:"report"`
	}
	if err := strict(FormatRawAnswer, data, &doc); err != nil {
		return nil, err
	}
	raw, err := hex.DecodeString(doc.Report)
	if err != nil {
		return nil, fmt.Errorf("%s: report: %w", FormatRawAnswer, err)
	}
	f := &File{Format: FormatRawAnswer, Evidence: Evidence{Report: raw}}
	return f, f.complete(nil)
}

// urlBytes is base64url text, with padding or without.
type urlBytes []byte

// UnmarshalJSON implements json.Unmarshaler.
func (u *urlBytes) UnmarshalJSON(doc []byte) error {
	var text string
	if err := json.Unmarshal(doc, &text); err != nil {
		return err
	}
	out, err := decodeBase64([]byte(text))
	*u = out
	return err
}

// maaData is a blob of an MAA request. What DataType says changes what becomes of it in the token, not what is hashed.
type maaData struct {
	Data     urlBytes `json:"data"`
	DataType string   `json:"dataType"`
}

// readMAA reads the body of POST /attest/SevSnpVm (Azure services, sections 1.7 and 4.1).
func readMAA(data []byte) (*File, error) {
	var doc struct {
		Report       urlBytes        `json:"report"`
		RuntimeData  *maaData        `json:"runtimeData"`
		InitTimeData json.RawMessage `json:"initTimeData"`
		Nonce        seen            `json:"nonce"` // for the token: a number or a string
		Draft        seen            `json:"draftPolicyForAttestation"`
	}
	if err := strict(FormatMAA, data, &doc); err != nil {
		return nil, err
	}
	var inner struct {
		Report       urlBytes `json:"SnpReport"`
		Chain        urlBytes `json:"VcekCertChain"` // PEM
		Endorsements urlBytes `json:"Endorsements"`
	}
	if err := strict(FormatMAA+": report", doc.Report, &inner); err != nil {
		return nil, err
	}
	f := &File{Format: FormatMAA, Evidence: Evidence{Report: inner.Report}}
	if err := f.complete(inner.Chain); err != nil {
		return nil, err
	}
	var err error
	if f.Evidence.Endorsement, err = maaEndorsement(inner.Endorsements); err != nil {
		return nil, err
	}
	if doc.RuntimeData == nil {
		return nil, fmt.Errorf("%s: runtimeData: got null", FormatMAA)
	}
	f.RuntimeData = doc.RuntimeData.Data
	if doc.InitTimeData != nil {
		f.InitTimeData, err = initTimeData(doc.InitTimeData)
	}
	return f, err
}

// initTimeData reads the member of that name, which is there. Azure's clients spell "none" as empty data of an empty type (Azure services, section 1.7): that is
// nil. Anything else has data, if only of no length, for HOST_DATA to be held against.
func initTimeData(raw []byte) ([]byte, error) {
	var doc struct {
		Data     *urlBytes `json:"data"`
		DataType *string   `json:"dataType"`
	}
	if err := strict(FormatMAA+": initTimeData", raw, &doc); err != nil {
		return nil, err
	}
	if doc.Data == nil {
		return nil, fmt.Errorf("%s: initTimeData: got no data", FormatMAA)
	}
	if len(*doc.Data) == 0 && doc.DataType != nil && *doc.DataType == "" {
		return nil, nil
	}
	return append([]byte{}, *doc.Data...), nil
}

func maaEndorsement(data []byte) ([]byte, error) {
	if len(data) == 0 {
		return nil, nil
	}
	var doc struct {
		UVM []urlBytes `json:"Uvm"`
	}
	if err := strict(FormatMAA+": Endorsements", data, &doc); err != nil {
		return nil, err
	}
	switch len(doc.UVM) {
	case 0:
		return nil, nil
	case 1:
		return doc.UVM[0], nil
	}
	return nil, errors.New(string(FormatMAA) + ": Endorsements: Uvm: got more than one, want at most one")
}
