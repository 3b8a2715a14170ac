package main

import (
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/emulator"
	"github.com/cloister-cc/cloister/snp/verify"
)

// keyServer is AMD's. Nothing here asks it: it is named for whoever has to.
const keyServer = "https://kdsintf.amd.com"

// remark says what a reader of the verdict should know besides, and what to do about failures.
func (a *attestVerify) remark(o *judged, ev *verify.Evidence) {
	o.notes = append(o.notes, o.unchecked()...)
	if !a.image.hasLaunch() && !o.verdict.TestOnly && o.failed("measurement") {
		o.notes = append(o.notes, fmt.Sprintf("the guest image in %q has no launch digests, so that no machine's report can match it: build it with "+
			"\"cloister guest build --firmware FILE\", or give --measurement", a.image.dir))
	}
	r, err := snp.DecodeReport(ev.Report)
	if err != nil {
		return
	}
	for _, step := range []string{a.nextRoots(o, ev), a.nextCertificates(o, r), a.nextList(o, r), a.nextRule(o, r)} {
		if step != "" {
			o.next = append(o.next, step)
		}
	}
}

// unchecked names what evidence proves little without and nobody asked about.
func (o *judged) unchecked() (notes []string) {
	for _, n := range []struct{ text, one, other string }{
		{"the nonce was not checked: this evidence may be an old one, or somebody else's (--nonce, --runtime-data or --report-data)", "report_data", "preimage_nonce"},
		{"the policy was not checked: HOST_DATA may bind any (--policy, --initdata or --host-data)", "host_data", "host_data"},
		{"the guest image was not checked: any may say this (--guest, --measurement or --endorsement-issuer)", "measurement", "endorsement_measurement"},
	} {
		if !o.asked(n.one) && !o.asked(n.other) {
			notes = append(notes, n.text)
		}
	}
	return notes
}

func (o *judged) failed(names ...string) bool {
	return slices.ContainsFunc(o.verdict.Failed(), func(c verify.Check) bool { return slices.Contains(names, c.Name) })
}

// nextRoots is for evidence of a software processor that the user did not name.
func (a *attestVerify) nextRoots(o *judged, ev *verify.Evidence) string {
	if a.roots != "" || !o.failed("chain", "root_line", "certificates") || !emulated(ev) {
		return ""
	}
	dir, err := emulator.DefaultDir()
	if err != nil {
		dir = "~/.local/share/cloister/emulator"
	}
	return fmt.Sprintf("the evidence is of a software processor, which no root of AMD's vouches for; if it is yours: --roots %s/roots (\"cloister dev tee init\" prints the directory)", dir)
}

// emulated says that a certificate at hand calls itself a software processor's.
func emulated(ev *verify.Evidence) bool {
	certs := slices.Clone(ev.Certs)
	if table, err := snp.ParseCerts(ev.Table); err == nil {
		for _, c := range table {
			certs = append(certs, c.Data)
		}
	}
	const most = 32 // as many as the verifier looks at
	return slices.ContainsFunc(certs[:min(len(certs), most)], func(der []byte) bool {
		c, err := x509.ParseCertificate(der)
		return err == nil && strings.Contains(c.Issuer.CommonName, emulator.Subject)
	})
}

// productLine is the product line of a report's processor. Reports of version 2 do not name it.
func productLine(r *snp.Report) (snp.Line, bool) {
	line, err := snp.LineOf(r.CPU)
	return line, r.Version > 2 && err == nil
}

// nextCertificates says where the certificate of the report's key is to be had.
func (a *attestVerify) nextCertificates(o *judged, r *snp.Report) string {
	switch {
	case !o.failed("certificates"):
		return ""
	case r.KeyInfo.Signer() == snp.SignerVLEK:
		return "get the VLEK certificate and its chain from the cloud provider, and give them with --certs FILE"
	case r.ChipID == [64]byte{}:
		return "the report's CHIP_ID is masked: ask the machine's owner for the VCEK certificate, and give it with --certs FILE"
	}
	line, known := productLine(r)
	parts, err := r.ReportedTCB.Parts(line)
	if err != nil {
		return ""
	}
	name, id := string(line), r.ChipID[:]
	query := fmt.Sprintf("blSPL=%d&teeSPL=%d&snpSPL=%d&ucodeSPL=%d", parts.BootLoader, parts.TEE, parts.SNP, parts.Microcode)
	if !known {
		name = "LINE" // Turin has no reports of version 2
	}
	if line == snp.Turin {
		id, query = id[:8], fmt.Sprintf("fmcSPL=%d&", parts.FMC)+query
	}
	step := fmt.Sprintf("curl -o vcek.der '%s/vcek/v1/%s/%s?%s', then --certs vcek.der", keyServer, name, hex.EncodeToString(id), query)
	if !known {
		step += " (LINE is Milan or Genoa: a report of version 2 does not say)"
	}
	if a.roots != "" {
		step += fmt.Sprintf("; of a software processor from \"cloister dev tee serve --kds :8080\", which stands for %s", keyServer)
	}
	return step
}

// nextList says where a revocation list is to be had.
func (a *attestVerify) nextList(o *judged, r *snp.Report) string {
	if !o.failed("crl", "crl_time") {
		return ""
	}
	line := o.verdict.Line
	if line == "" {
		return ""
	}
	kind := "vcek"
	if r.KeyInfo.Signer() == snp.SignerVLEK {
		kind = "vlek"
	}
	server := keyServer
	if o.verdict.TestOnly {
		server = "http://127.0.0.1:8080" // of dev tee serve
	}
	step := fmt.Sprintf("curl -o crl.der %s/%s/v1/%s/crl, then --crl crl.der", server, kind, line)
	if o.verdict.TestOnly {
		step += " (from \"cloister dev tee serve --kds :8080\")"
	}
	return step
}

// nextRule names the rule by which REPORT_DATA was made of the nonce, if there is one.
func (a *attestVerify) nextRule(o *judged, r *snp.Report) string {
	if !o.failed("report_data") || a.nonce == "" {
		return ""
	}
	nonce, err := parseNonce(a.nonce)
	if err != nil {
		return ""
	}
	for _, rule := range []reportData{reportDataHost, reportDataSHA256, reportDataRaw} {
		if data, err := rule.of(nonce); err == nil && data == r.ReportData {
			whose := map[reportData]string{reportDataHost: ", as agents do for the host"}[rule]
			return fmt.Sprintf("REPORT_DATA is made of your nonce by another rule%s; if that is what you asked for: --report-data %s", whose, rule)
		}
	}
	return ""
}

// wrap writes words behind a title in lines of at most 100 columns.
func wrap(w io.Writer, title string, words []string) {
	const columns, indent = 100, "  "
	line := title + ":"
	for i, word := range words {
		if i < len(words)-1 {
			word += ","
		}
		if len(line)+1+len(word) > columns {
			fmt.Fprintln(w, line)
			line = indent + word
			continue
		}
		line += " " + word
	}
	fmt.Fprintln(w, line)
}
