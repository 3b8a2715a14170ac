package maa

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/verify"
)

// claims are a token's payload (Azure services contract, section 4.1).
type claims struct {
	Issuer    string          `json:"iss"`
	ID        string          `json:"jti"`
	IssuedAt  int64           `json:"iat"`
	NotBefore int64           `json:"nbf"`
	Expires   int64           `json:"exp"`
	Nonce     json.RawMessage `json:"nonce,omitempty"`

	Version    string          `json:"x-ms-ver"`
	Type       string          `json:"x-ms-attestation-type"`
	Compliance string          `json:"x-ms-compliance-status,omitempty"`
	PolicyHash string          `json:"x-ms-policy-hash"`
	Runtime    json.RawMessage `json:"x-ms-runtime,omitempty"`
	InitTime   json.RawMessage `json:"x-ms-inittime,omitempty"`

	HostData    string `json:"x-ms-sevsnpvm-hostdata"`
	ReportData  string `json:"x-ms-sevsnpvm-reportdata"`
	Measurement string `json:"x-ms-sevsnpvm-launchmeasurement"`
	ReportID    string `json:"x-ms-sevsnpvm-reportid"`
	AuthorKey   string `json:"x-ms-sevsnpvm-authorkeydigest"`
	IDKey       string `json:"x-ms-sevsnpvm-idkeydigest"`
	FamilyID    string `json:"x-ms-sevsnpvm-familyId"`
	ImageID     string `json:"x-ms-sevsnpvm-imageId"`
	Debuggable  bool   `json:"x-ms-sevsnpvm-is-debuggable"`
	Migration   bool   `json:"x-ms-sevsnpvm-migration-allowed"`
	SMT         bool   `json:"x-ms-sevsnpvm-smt-allowed"`
	GuestSVN    uint64 `json:"x-ms-sevsnpvm-guestsvn"`
	VMPL        uint32 `json:"x-ms-sevsnpvm-vmpl"`
	BootLoader  uint8  `json:"x-ms-sevsnpvm-bootloader-svn"`
	TEE         uint8  `json:"x-ms-sevsnpvm-tee-svn"`
	Firmware    uint8  `json:"x-ms-sevsnpvm-snpfw-svn"`
	Microcode   uint8  `json:"x-ms-sevsnpvm-microcode-svn"`
}

// compliant is what the service says of a guest whose utility VM was endorsed.
const compliant = "azure-compliant-uvm"

// data is the part of a request that says how its data is to be read.
type data struct {
	Nonce   json.RawMessage `json:"nonce"`
	Runtime struct {
		Type string `json:"dataType"`
	} `json:"runtimeData"`
	InitTime struct {
		Type string `json:"dataType"`
	} `json:"initTimeData"`
}

// judge verifies a request's evidence. What the service reports instead of refusing, debugging and migration, is left to the claims.
func (s *Server) judge(body []byte) (*claims, error) {
	var d data
	if err := json.Unmarshal(body, &d); err != nil {
		return nil, invalid("the request is not JSON")
	}
	file, err := verify.ReadEvidence(body)
	if err != nil || file.Format != verify.FormatMAA {
		return nil, invalid("the request is not understood: %v", err)
	}
	reportData := snp.HashedReportData(file.RuntimeData)
	expect := verify.Expectations{Now: s.now(), ReportData: &reportData, Endorsement: s.endorsement(file)}
	if len(file.InitTimeData) > 0 {
		digest := sha256.Sum256(file.InitTimeData)
		expect.HostData = &digest
	}
	verdict, err := s.verifier.Verify(file.Evidence, expect)
	if err != nil {
		return nil, err
	}
	for _, check := range verdict.Failed() {
		if check.Name != "policy_debug" && check.Name != "policy_migration" {
			return nil, invalid("%s: got %s, want %s", check.Name, check.Got, check.Want)
		}
	}
	report, err := snp.ParseReport(file.Evidence.Report)
	if err != nil {
		return nil, invalid("report: %v", err)
	}
	c, err := s.claims(report, verdict.Line)
	if err != nil {
		return nil, err
	}
	c.Nonce = d.Nonce
	if expect.Endorsement != nil {
		if err := c.endorse(file.Evidence.Endorsement); err != nil {
			return nil, err
		}
	}
	return c, c.carry(file, d)
}

// endorsement is what is asked of one that the evidence has.
func (s *Server) endorsement(file *verify.File) *verify.EndorsementPolicy {
	if len(file.Evidence.Endorsement) == 0 {
		return nil
	}
	return s.Endorsement
}

func (c *claims) endorse(cose []byte) error {
	e, err := verify.ReadEndorsement(cose)
	if err != nil {
		return invalid("endorsement: %v", err)
	}
	c.Compliance, c.GuestSVN = compliant, e.SVN
	return nil
}

// carry puts what the guest bound into the token, where it is JSON.
func (c *claims) carry(file *verify.File, d data) error {
	for _, part := range []struct {
		name, kind string
		text       []byte
		into       *json.RawMessage
	}{
		{"runtimeData", d.Runtime.Type, file.RuntimeData, &c.Runtime}, {"initTimeData", d.InitTime.Type, file.InitTimeData, &c.InitTime},
	} {
		switch {
		case len(part.text) == 0 || part.kind == "Binary":
		case part.kind != "JSON":
			return invalid("%s.dataType: got %.32q, want JSON or Binary", part.name, part.kind)
		case !isObject(part.text):
			return invalid("%s: is not a JSON object", part.name)
		default:
			*part.into = part.text
		}
	}
	return nil
}

func isObject(text []byte) bool {
	var o map[string]json.RawMessage
	return json.Unmarshal(text, &o) == nil && o != nil
}

func (s *Server) claims(r *snp.Report, line snp.Line) (*claims, error) {
	tcb, err := r.ReportedTCB.Parts(line)
	if err != nil {
		return nil, err
	}
	var id [32]byte
	rand.Read(id[:])
	now := s.now().Unix()
	return &claims{
		Issuer: s.Issuer, ID: hex.EncodeToString(id[:]), IssuedAt: now, NotBefore: now, Expires: now + int64(lifetime.Seconds()),
		Version: "1.0", Type: "sevsnpvm", PolicyHash: policyHash(),
		HostData: hex.EncodeToString(r.HostData[:]), ReportData: hex.EncodeToString(r.ReportData[:]), Measurement: hex.EncodeToString(r.Measurement[:]),
		ReportID: hex.EncodeToString(r.ReportID[:]), AuthorKey: hex.EncodeToString(r.AuthorDigest[:]), IDKey: hex.EncodeToString(r.IDKeyDigest[:]),
		FamilyID: hex.EncodeToString(r.FamilyID[:]), ImageID: hex.EncodeToString(r.ImageID[:]),
		Debuggable: r.Policy&snp.PolicyDebug != 0, Migration: r.Policy&snp.PolicyMigrateMA != 0, SMT: r.Policy&snp.PolicySMT != 0,
		GuestSVN: uint64(r.GuestSVN), VMPL: r.VMPL,
		BootLoader: tcb.BootLoader, TEE: tcb.TEE, Firmware: tcb.SNP, Microcode: tcb.Microcode,
	}, nil
}
