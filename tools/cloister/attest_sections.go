package main

import (
	"crypto/sha256"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/eventlog"
	"github.com/cloister-cc/cloister/snp/verify"
)

// when is a time for people and programs, empty for none.
func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// reportSection prints a report. TCBs are taken apart by the layout of the report's processor; reports of version 2 name none, so theirs are printed by the older one.
func reportSection(raw []byte) (section, error) {
	s := section{Title: "report"}
	r, err := snp.DecodeReport(raw)
	if err != nil {
		return s, err
	}
	product, err := snp.ProductOf(r.CPU)
	if err != nil {
		product = snp.Product{Name: "unknown", Line: snp.Milan}
	}
	tcb := func(name string, t snp.TCB) {
		text := fmt.Sprintf("%x", t)
		if parts, err := t.Parts(product.Line); err == nil {
			text += " (" + parts.String() + ")"
		}
		s.add(name, "%s", text)
	}
	signer, known := map[uint32]string{snp.SignerVCEK: "VCEK", snp.SignerVLEK: "VLEK", snp.SignerNone: "none"}[r.KeyInfo.Signer()]
	if !known {
		signer = fmt.Sprint(r.KeyInfo.Signer())
	}
	if err := r.CheckReserved(); err != nil {
		s.add("reserved", "%v", err)
	}
	s.add("version", "%d", r.Version)
	s.add("guest_svn", "%d", r.GuestSVN)
	s.add("policy", "%s", policyText(r.Policy))
	s.add("family_id", "%x", r.FamilyID)
	s.add("image_id", "%x", r.ImageID)
	s.add("vmpl", "%s", vmplText(r.VMPL))
	s.add("signature_algo", "%d", r.SignatureAlgo)
	tcb("current_tcb", r.CurrentTCB)
	s.add("platform_info", "%#x", r.PlatformInfo)
	s.add("signer", "%s", signer)
	s.add("mask_chip_key", "%t", r.KeyInfo.MaskChipKey())
	s.add("author_key_en", "%t", r.KeyInfo.AuthorKey())
	s.add("report_data", "%x", r.ReportData)
	s.add("measurement", "%x", r.Measurement)
	s.add("host_data", "%x", r.HostData)
	s.add("id_key_digest", "%x", r.IDKeyDigest)
	s.add("author_key_digest", "%x", r.AuthorDigest)
	s.add("report_id", "%x", r.ReportID)
	s.add("report_id_ma", "%x", r.ReportIDMA)
	tcb("reported_tcb", r.ReportedTCB)
	if r.Version >= 3 {
		s.add("cpu", "family %#x, model %#x, stepping %#x: %s", r.CPU.Family, r.CPU.Model, r.CPU.Stepping, product.Name)
	}
	s.add("chip_id", "%x", r.ChipID)
	tcb("committed_tcb", r.CommittedTCB)
	s.add("current_firmware", "%s", r.Current)
	s.add("committed_firmware", "%s", r.Committed)
	tcb("launch_tcb", r.LaunchTCB)
	if r.Version >= 5 {
		s.add("launch_mit_vector", "%#x", r.LaunchMit)
		s.add("current_mit_vector", "%#x", r.CurrentMit)
	}
	s.add("signature_r", "%x", r.Signature[:72])
	s.add("signature_s", "%x", r.Signature[72:])
	return s, nil
}

func vmplText(vmpl uint32) string {
	if vmpl > 3 {
		return fmt.Sprintf("%#x (the host asked for the report)", vmpl)
	}
	return fmt.Sprint(vmpl)
}

// policyText names the bits that are set.
func policyText(p snp.GuestPolicy) string {
	text := fmt.Sprintf("%s: abi %d.%d", p, uint8(p>>8), uint8(p))
	for _, b := range []struct {
		bit  snp.GuestPolicy
		name string
	}{
		{snp.PolicySMT, "smt"},
		{snp.PolicyReservedOne, "reserved-one"},
		{snp.PolicyMigrateMA, "migration-agent"},
		{snp.PolicyDebug, "debug"},
		{snp.PolicySingleSocket, "single-socket"},
		{snp.PolicyCXL, "cxl"},
		{snp.PolicyMemAES256XTS, "aes256-xts"},
		{snp.PolicyRAPLDisable, "rapl-disabled"},
		{snp.PolicyCiphertextHide, "ciphertext-hiding"},
		{snp.PolicyPageSwapDisable, "page-swap-disabled"},
	} {
		if p&b.bit != 0 {
			text += ", " + b.name
		}
	}
	return text
}

// fileSection is what a document says beside report and certificates.
func fileSection(f *verify.File) section {
	s := section{Title: "document"}
	if f.Carrier != "" {
		s.add("carrier", "%s", f.Carrier)
	}
	for _, m := range []struct {
		name string
		data []byte
	}{{"policy", f.Evidence.Policy}, {"initdata", f.Initdata}, {"runtime_data", f.RuntimeData}, {"init_time_data", f.InitTimeData}} {
		if len(m.data) > 0 {
			s.add(m.name, "%d bytes, SHA-256 %x", len(m.data), sha256.Sum256(m.data))
		}
	}
	if f.ClaimedTCB != nil {
		s.add("claimed_tcb", "%x", *f.ClaimedTCB)
	}
	return s
}

// certificateSections prints the certificates and lists of a file, wherever in it they are.
func certificateSections(f *verify.File) ([]section, error) {
	var out []section
	table, err := snp.ParseCerts(f.Evidence.Table)
	if err != nil {
		return nil, err
	}
	names := map[snp.GUID]string{snp.GUIDVCEK: "VCEK", snp.GUIDVLEK: "VLEK", snp.GUIDASK: "ASK", snp.GUIDARK: "ARK", snp.GUIDCRL: "CRL", snp.GUIDCPU: "processor"}
	for _, c := range table {
		title := "table entry " + c.GUID.String()
		if name, ok := names[c.GUID]; ok {
			title += " (" + name + ")"
		}
		switch c.GUID {
		case snp.GUIDCRL:
			out = append(out, listSection(title, c.Data))
		case snp.GUIDCPU:
			out = append(out, cpuSection(title, c.Data))
		default:
			out = append(out, certificateSection(title, c.Data))
		}
	}
	for i, der := range f.Evidence.Certs {
		out = append(out, certificateSection(fmt.Sprintf("certificate %d", i), der))
	}
	for i, der := range f.Evidence.CRLs {
		out = append(out, listSection(fmt.Sprintf("revocation list %d", i), der))
	}
	if f.Evidence.Report == nil {
		out = append(out, nonEmptySections(fileSection(f))...)
	}
	return out, nil
}

func nonEmptySections(s section) []section {
	if len(s.Fields) == 0 {
		return nil
	}
	return []section{s}
}

func certificateSection(title string, der []byte) section {
	s := section{Title: title}
	c, err := verify.InspectCertificate(der)
	if err != nil {
		s.add("bytes", "%d", len(der))
		s.add("error", "%v", err)
		return s
	}
	s.add("subject", "%s", c.Subject)
	s.add("issuer", "%s", c.Issuer)
	s.add("serial", "%s", c.Serial)
	s.add("not_before", "%s", when(c.NotBefore))
	s.add("not_after", "%s", when(c.NotAfter))
	s.add("key", "%s", c.Key)
	s.add("signature_algorithm", "%s", c.SignatureAlgorithm)
	s.add("authority", "%t", c.Authority)
	if c.Unreadable != nil {
		s.add("error", "%v", c.Unreadable)
	}
	if c.Kind == "" {
		return s
	}
	s.add("kind", "%s", c.Kind)
	s.add("product", "%s", c.Product)
	s.add("tcb", "%s", c.TCB)
	if c.ChipID != nil {
		s.add("chip_id", "%x", *c.ChipID)
	}
	if c.CSP != "" {
		s.add("csp", "%s", c.CSP)
	}
	return s
}

func cpuSection(title string, data []byte) section {
	s := section{Title: title}
	cpu, err := snp.ParseCPUEntry(data)
	if err != nil {
		s.add("error", "%v", err)
		return s
	}
	s.add("cpu", "family %#x, model %#x, stepping %#x", cpu.Family, cpu.Model, cpu.Stepping)
	return s
}

func listSection(title string, der []byte) section {
	s := section{Title: title}
	l, err := verify.InspectCRL(der)
	if err != nil {
		s.add("error", "%v", err)
		return s
	}
	s.add("issuer", "%s", l.Issuer)
	s.add("number", "%s", l.Number)
	s.add("this_update", "%s", when(l.ThisUpdate))
	s.add("next_update", "%s", when(l.NextUpdate))
	s.add("revoked", "%d: %s", len(l.Revoked), strings.Join(l.Revoked, ", "))
	return s
}

// entrySection prints the fields that an entry has, by their names in CBOR.
func entrySection(e *eventlog.Entry) section {
	s := section{Title: fmt.Sprintf("event %d: %s", e.Seq, e.Kind)}
	v := reflect.ValueOf(*e)
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("cbor"), ",")
		if name == "seq" || name == "kind" || v.Field(i).IsZero() {
			continue
		}
		switch value := v.Field(i).Interface().(type) {
		case []byte:
			s.add(name, "%x", value)
		case []string:
			s.add(name, "%s", strings.Join(value, ", "))
		default:
			s.add(name, "%v", value)
		}
	}
	return s
}
