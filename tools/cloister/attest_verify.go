package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/guest"
	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/measure"
	"github.com/cloister-cc/cloister/snp/verify"
)

// exitUnreadable: a file that the user named cannot be used; nothing was judged. It is not 1, so that a script never takes a typing
// error for forged evidence or the other way round.
const exitUnreadable = 3

// maxBundleFile bounds what is read of a bundle; snp.ParseBundle has its own limit below this.
const maxBundleFile = 128 << 20

// attestVerify is one use of "attest verify".
type attestVerify struct {
	bundle, policy, initdata, nonce, data, roots, guest, minTCB string
	measurements                                                []string
	vmpl, minSVN                                                uint32
	noSMT, cxl, json                                            bool
}

func newAttestVerifyCommand() *cobra.Command {
	var a attestVerify
	cmd := &cobra.Command{
		Use:   "verify BUNDLE (--policy FILE | --initdata FILE) --nonce HEX --roots DIR",
		Short: "Verify an evidence bundle and say of each field what was found and what was wanted",
		Long: `Verify judges an evidence bundle ("-" is standard input) offline: signature, certificate chain, firmware versions, and
each field against what you expect. Nothing is left unchecked silently.

  --roots     directory with the root certificates you trust: ark.pem, and ask.pem (asvk.pem for VLEKs) or AMD's
              cert_chain file. There are no built-in roots. The software processor's are made by "cloister dev tee
              init" and are worth nothing outside development.
  --policy    HOST_DATA must be the SHA-256 of this file. When the bundle says that an initdata document carried the
              policy, that document must hold exactly this policy and nothing else, and HOST_DATA be its digest.
  --initdata  HOST_DATA must be the digest this initdata document declares; instead of --policy.
  --nonce     REPORT_DATA must be made of it by the --report-data rule.
  MEASUREMENT must be one of --measurement, or that of the guest image in --guest (default $` + guestEnv + `, else
  out/guest) on a machine without firmware. "--measurement any" accepts every image, and says so in its row.

Exit codes: 0 every field is right, 1 refused, 2 usage, 3 a file you named cannot be read (nothing was judged).`,
		Example: `  cloister attest verify bundle.json --policy policy.rego --nonce $NONCE --report-data host \
      --roots ~/.local/share/cloister/emulator/roots --guest out/guest
  cloister attest verify bundle.json --policy policy.rego --nonce $NONCE --report-data host \
      --roots ~/.local/share/cloister/emulator/roots --measurement $(cloister measure --guest out/guest) --json`,
		Args: exactly("BUNDLE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			a.bundle = args[0]
			return a.run(cmd)
		},
	}
	f := cmd.Flags()
	f.StringVar(&a.policy, "policy", "", "file with the policy you approved")
	f.StringVar(&a.initdata, "initdata", "", "file with the initdata document you approved")
	f.StringVar(&a.nonce, "nonce", "", "the nonce you chose, 16 to 64 bytes in hex")
	f.StringVar(&a.data, "report-data", string(reportDataSHA256), reportDataHelp)
	f.StringVar(&a.roots, "roots", "", "directory with the root certificates you trust")
	f.StringArrayVar(&a.measurements, "measurement", nil, "launch digest you accept, 96 hex digits, repeatable; or \"any\"")
	f.StringVar(&a.guest, "guest", os.Getenv(guestEnv), "directory of the guest image whose measurement you accept")
	f.Uint32Var(&a.vmpl, "vmpl", 0, "privilege level of the report, 0 to 3")
	f.StringVar(&a.minTCB, "min-tcb", "0,0,0,0", "oldest firmware: BOOTLOADER,TEE,SNP,MICROCODE[,FMC]")
	f.Uint32Var(&a.minSVN, "min-guest-svn", 0, "oldest guest version")
	f.BoolVar(&a.noSMT, "no-smt", false, "refuse guests that may share a core with other threads")
	f.BoolVar(&a.cxl, "allow-cxl", false, "accept guests whose memory may be on CXL devices")
	f.BoolVar(&a.json, "json", false, "print the verdict as JSON")
	return cmd
}

func (a *attestVerify) run(cmd *cobra.Command) error {
	exp, err := a.expectations()
	if err != nil {
		return err
	}
	roots, err := verify.LoadRoots(a.roots)
	if err != nil {
		return unreadable(err)
	}
	raw, err := readBundle(a.bundle, cmd.InOrStdin())
	if err != nil {
		return unreadable(err)
	}
	verdict, err := a.judge(raw, roots, exp)
	if err != nil {
		return err
	}
	if err := a.print(cmd.OutOrStdout(), verdict); err != nil {
		return err
	}
	if !verdict.OK {
		var names []string
		for _, f := range verdict.Failed() {
			names = append(names, f.Name)
		}
		return &exitError{code: exitFailed, err: errors.New("attest verify: refused: " + strings.Join(names, ", "))}
	}
	return nil
}

// judge comes to a verdict. A bundle that does not parse is evidence too, and bad: it came from the host.
func (a *attestVerify) judge(raw []byte, roots *verify.Roots, exp verify.Expectations) (*verify.Verdict, error) {
	bundle, err := snp.ParseBundle(raw)
	if err != nil {
		return refusal("bundle", err.Error(), "an evidence bundle"), nil
	}
	anchor, err := a.anchor(bundle)
	var bad *carrierError
	if errors.As(err, &bad) {
		return refusal("initdata", bad.got, bad.want), nil
	}
	if err != nil {
		return nil, err
	}
	exp.HostData = &anchor
	v, err := verify.New(roots, verify.Options{})
	if err != nil {
		return nil, err
	}
	return v.Verify(verify.Evidence{Report: bundle.Report, Table: bundle.Certs}, exp)
}

func refusal(name, got, want string) *verify.Verdict { return verify.Refuse(name+": "+got, want) }

func unreadable(err error) error { return &exitError{code: exitUnreadable, err: err} }

func readBundle(name string, stdin io.Reader) ([]byte, error) {
	r := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		r = f
	}
	return io.ReadAll(io.LimitReader(r, maxBundleFile))
}

// expectations collects all but HOST_DATA, which may depend on the bundle's carrier.
func (a *attestVerify) expectations() (verify.Expectations, error) {
	var exp verify.Expectations
	nonce, err := parseNonce(a.nonce)
	if err != nil {
		return exp, err
	}
	data, err := reportData(a.data).of(nonce)
	if err != nil {
		return exp, err
	}
	if a.roots == "" {
		return exp, &usageError{errors.New("attest verify: no trusted roots given (--roots DIR)")}
	}
	if (a.policy == "") == (a.initdata == "") {
		return exp, &usageError{errors.New("attest verify: want one of --policy and --initdata")}
	}
	if a.vmpl > 3 {
		return exp, &usageError{fmt.Errorf("--vmpl: got %d, want 0 to 3", a.vmpl)}
	}
	tcb, err := parseTCB(a.minTCB)
	if err != nil {
		return exp, err
	}
	exp = verify.Expectations{
		ReportData: &data, VMPL: &a.vmpl, MinTCB: &tcb, MinGuestSVN: &a.minSVN,
		GuestPolicy: &verify.PolicyLimit{SMT: !a.noSMT, CXL: a.cxl}, Now: time.Now(),
	}
	return exp, a.reference(&exp)
}

// reference sets the measurements accepted.
func (a *attestVerify) reference(exp *verify.Expectations) error {
	if len(a.measurements) == 1 && a.measurements[0] == "any" {
		return nil // not asked, and shown as that
	}
	for _, text := range a.measurements {
		d, err := measure.ParseDigest(text)
		if err != nil {
			return &usageError{err}
		}
		exp.Measurements = append(exp.Measurements, d)
	}
	if len(exp.Measurements) > 0 {
		return nil
	}
	dir := guestDir(a.guest)
	h, err := imageHashes(dir)
	if errors.Is(err, os.ErrNotExist) && a.guest == "" {
		return &usageError{fmt.Errorf("attest verify: no measurement to expect: %w (give --guest DIR, --measurement DIGEST, or --measurement any)", err)}
	}
	if err != nil {
		return unreadable(err)
	}
	exp.Measurements = [][48]byte{h.Emulated()}
	return nil
}

// guestDir is where the guest image is when nothing else is said, for this command as for run.
func guestDir(flag string) string {
	if flag == "" {
		return filepath.Join("out", "guest")
	}
	return flag
}

// imageHashes reads what a launch measures of a guest image.
func imageHashes(dir string) (measure.Hashes, error) {
	path := filepath.Join(dir, guest.FileMeasurements)
	b, err := os.ReadFile(path)
	if err != nil {
		return measure.Hashes{}, err
	}
	var m guest.Measurements
	if err := json.Unmarshal(b, &m); err != nil {
		return measure.Hashes{}, fmt.Errorf("read %q: %w", path, err)
	}
	h, err := measure.ParseHashes(m.Kernel.SHA256, m.Initrd.SHA256, m.Cmdline.SHA256)
	if err != nil {
		return measure.Hashes{}, fmt.Errorf("read %q: %w", path, err)
	}
	return h, nil
}

func parseTCB(text string) (snp.TCBParts, error) {
	var p snp.TCBParts
	parts := strings.Split(text, ",")
	to := []*uint8{&p.BootLoader, &p.TEE, &p.SNP, &p.Microcode, &p.FMC}
	if len(parts) != 4 && len(parts) != 5 {
		return p, &usageError{fmt.Errorf("--min-tcb: got %.64q, want 4 or 5 numbers", text)}
	}
	for i, s := range parts {
		n, err := strconv.ParseUint(s, 10, 8)
		if err != nil {
			return p, &usageError{fmt.Errorf("--min-tcb: got %.64q, want numbers from 0 to 255", text)}
		}
		*to[i] = uint8(n)
	}
	return p, nil
}
