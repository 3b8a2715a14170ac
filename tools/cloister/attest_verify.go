package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cloister-cc/cloister/snp/verify"
)

// Exit codes of "attest verify": 0 good, these, and from 2 on the class of the first failure (verify.Class).
const exitVerifyUsage = 1 // the command line was wrong, or a file it names cannot be read: nothing was judged

// attestVerify is one use of "attest verify". The flags are kept as they were given; see attest_expect.go.
type attestVerify struct {
	// What is judged.
	file, report, endorsement string
	certs, crls               []string
	// What is trusted.
	roots, now string
	// What is wanted.
	policy, initdata, hostData              string
	nonce, data, runtimeData                string
	measurements                            []string
	guest                                   string
	issuers                                 []string
	feed                                    string
	endorsedSVN                             uint64
	minTCB, minLaunchTCB                    string
	minFirmware                             string
	launchMitigation, currentMitigation     uint64
	guestSVN, minVersion, vmpl              uint32
	noSMT, cxl                              bool
	promises, platform                      []string
	chips, products, csps                   []string
	signer                                  string
	familyID, imageID, reportID, reportIDMA string
	idKeys, authorKeys                      []string
	idBlock, masked, committed              bool
	crlRequired                             bool
	identity                                string
	entries                                 []string
	eventLog                                bool

	image acceptedImage // of --guest

	json bool
	cmd  *cobra.Command // for which flags were given
}

const attestVerifyLong = `Verify judges evidence offline: signature, certificate chain, chip, firmware versions, debugging and migration always, and each field
that you say what you expect of. What you did not ask for is named in one line, so that nobody takes it for checked. "-" is standard input.

The file is told by its content: a bundle of "attest report" or of an agent, the answer of /attest/combined or /attest/raw, the body of a
request to Microsoft's attestation service, CoCo's evidence, or a bare report (binary, hex, base64). Certificates that it does not
hold come by --certs: PEM, DER, a host's certificate table, or THIM's JSON. Reports of the software processor need --roots.

Nothing is fetched, ever. The order of failures in the exit code: signature, missing, revocation, policy.

Exit codes: 0 good; 1 wrong usage, or a file you named cannot be read (nothing was judged); 2 signature or chain; 3 certificates or other
parts missing; 4 revocation; 5 the evidence is genuine and not what you wanted.`

const attestVerifyExample = `  # a pod of "cloister run", over a nonce
  cloister attest verify bundle.json --policy policy.rego --nonce $NONCE --report-data host \
      --roots ~/.local/share/cloister/emulator/roots --guest out/guest
  # evidence of one container, which no other could have got
  cloister attest verify bundle.json --policy policy.rego --nonce $NONCE --identity container --entry web
  # a bare report, certificates from AMD's key server
  cloister attest verify --report report.bin --certs vcek.der --certs cert_chain.pem --crl milan.crl \
      --report-data $REPORT_DATA --host-data $HOST_DATA --measurement $DIGEST --min-tcb 3,0,8,115
  # confidential containers on Azure, by Microsoft's word on the utility VM
  cloister attest verify combined.json --policy policy.rego --runtime-data request.json --feed ContainerPlat-AMD-UVM --min-svn 100 \
      --endorsement-issuer did:x509:0:sha256:I__iuL25oXEVFdTP_aBLx_eT1RPHbCQ_ECBQfYZpt9s::eku:1.3.6.1.4.1.311.76.59.1.2`

func newAttestVerifyCommand() *cobra.Command {
	var a attestVerify
	cmd := &cobra.Command{
		Use:     "verify (FILE | --report FILE) [flags]",
		Short:   "Verify evidence and say of each check what was wanted and what was found",
		Long:    attestVerifyLong,
		Example: attestVerifyExample,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 || (len(args) == 1) == (a.report != "") {
				return asVerifyUsage(cmd, errors.New("attest verify: want one file of evidence, as FILE or as --report FILE"))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			a.file, a.cmd = a.report, cmd
			if len(args) == 1 {
				a.file = args[0]
			}
			return asVerifyUsage(cmd, a.run(cmd))
		},
	}
	cmd.SetFlagErrorFunc(asVerifyUsage)
	a.inputFlags(cmd)
	a.expectationFlags(cmd)
	a.identityFlags(cmd)
	groupFlags(cmd, attestVerifyGroups...)
	return cmd
}

// attestVerifyGroups is the order of the help: what most people need first.
var attestVerifyGroups = []flagGroup{
	{"What ran (HOST_DATA, launch measurement)", []string{"policy", "initdata", "host-data", "guest", "measurement"}},
	{"Freshness (REPORT_DATA)", []string{"nonce", "report-data", "runtime-data"}},
	{"Which container", []string{"identity", "entry", "require-event-log"}},
	{"Evidence and what is trusted", []string{"report", "certs", "crl", "require-crl", "roots", "now"}},
	{"An endorsement of the measurement", []string{"endorsement", "endorsement-issuer", "feed", "min-svn"}},
	{"Firmware and versions", []string{"min-tcb", "min-launch-tcb", "min-firmware", "committed", "min-guest-svn", "min-version", "launch-mitigation", "current-mitigation"}},
	{"Guest and platform", []string{"vmpl", "guest-policy", "no-smt", "allow-cxl", "platform"}},
	{"Chip and key", []string{"product", "chip-id", "allow-masked-chip-id", "signer", "csp"}},
	{"Ids", []string{"id-key", "author-key", "require-id-block", "family-id", "image-id", "report-id", "report-id-ma"}},
}

func (a *attestVerify) inputFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&a.report, "report", "", "file of evidence, instead of the argument")
	f.StringArrayVar(&a.certs, "certs", nil, "file of certificates, repeatable: PEM, DER, certificate table or THIM's JSON")
	f.StringArrayVar(&a.crls, "crl", nil, "file of a revocation list, repeatable: DER or PEM")
	f.BoolVar(&a.crlRequired, "require-crl", false, "refuse evidence when no current revocation list of its root is at hand")
	f.StringVar(&a.roots, "roots", "", "directory with the root certificates you trust (default AMD's, built in)")
	f.StringVar(&a.now, "now", "", "time to judge certificates at: RFC 3339 or YYYY-MM-DD (default now)")
	f.StringVar(&a.endorsement, "endorsement", "", "file of the measurement's endorsement, in place of the one in the evidence: COSE, or that in base64")
	f.BoolVar(&a.json, "json", false, "print the verdict as JSON")
}

func (a *attestVerify) expectationFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&a.policy, "policy", "", "HOST_DATA must be the digest of this policy; of an initdata document that carries it, if the document holds nothing else")
	f.StringVar(&a.initdata, "initdata", "", "HOST_DATA must be the digest that this initdata document declares")
	f.StringVar(&a.hostData, "host-data", "", "HOST_DATA must be this, 64 hex digits")
	f.StringVar(&a.nonce, "nonce", "", "the nonce you chose, 16 to 64 bytes in hex: in the preimage of identity evidence, else REPORT_DATA is made of it")
	f.StringVar(&a.data, "report-data", string(reportDataSHA256), reportDataHelp+`; or REPORT_DATA itself, 128 hex digits`)
	f.StringVar(&a.runtimeData, "runtime-data", "", "REPORT_DATA must be the SHA-256 of this file, then 32 zero bytes; with --report-data raw the file itself (1 to 48 bytes), then zeros, as /aa/evidence does")
	f.StringArrayVar(&a.measurements, "measurement", nil, "launch digest you accept, 96 hex digits, repeatable; \"any\" is the same as none")
	f.StringVar(&a.guest, "guest", "", "directory of the guest image whose launch digests you accept, of 1 to 64 processors, if it was built with a firmware; of a software processor the emulated one (default $"+guestEnv+" if that is set and nothing else is said of the measurement)")
	f.StringArrayVar(&a.issuers, "endorsement-issuer", nil, "did:x509 whose endorsement of the measurement you accept, repeatable; needs --feed")
	f.StringVar(&a.feed, "feed", "", "feed of that endorsement")
	f.Uint64Var(&a.endorsedSVN, "min-svn", 0, "oldest version of that endorsement")
	f.Uint32Var(&a.vmpl, "vmpl", 0, "privilege level of the report, 0 to 3")
	f.StringVar(&a.minTCB, "min-tcb", "", "oldest firmware: BOOTLOADER,TEE,SNP,MICROCODE[,FMC]")
	f.StringVar(&a.minLaunchTCB, "min-launch-tcb", "", "oldest firmware at launch, likewise")
	f.Uint32Var(&a.guestSVN, "min-guest-svn", 0, "oldest GUEST_SVN")
	f.Uint32Var(&a.minVersion, "min-version", 0, "oldest report version")
	f.StringVar(&a.minFirmware, "min-firmware", "", "oldest firmware, current and committed: MAJOR.MINOR.BUILD")
	f.BoolVar(&a.committed, "committed", false, "refuse firmware that can still be rolled back")
	f.Uint64Var(&a.launchMitigation, "launch-mitigation", 0, "bits that the launch mitigation vector must have (report version 5)")
	f.Uint64Var(&a.currentMitigation, "current-mitigation", 0, "bits that the current mitigation vector must have (report version 5)")
	f.BoolVar(&a.noSMT, "no-smt", false, "refuse guests that may share a core with other threads")
	f.BoolVar(&a.cxl, "allow-cxl", false, "accept guests whose memory may be on CXL devices")
	f.StringSliceVar(&a.promises, "guest-policy", nil, "what the guest policy must promise: "+promiseNames()+", abi=MAJOR.MINOR")
	f.StringSliceVar(&a.platform, "platform", nil, "what the platform must be: "+platformNames())
	f.StringArrayVar(&a.chips, "chip-id", nil, "CHIP_ID you accept, 128 hex digits (16 on Turin), repeatable")
	f.BoolVar(&a.masked, "allow-masked-chip-id", false, "accept a VCEK's report whose CHIP_ID is masked: nothing ties it to one chip then")
	f.StringArrayVar(&a.products, "product", nil, "product you accept, repeatable: Milan, Genoa, Siena, Bergamo, Turin, Turin-Dense")
	f.StringVar(&a.signer, "signer", "", "kind of key you accept: vcek or vlek (default either)")
	f.StringArrayVar(&a.csps, "csp", nil, "cloud provider whose VLEK you accept, repeatable")
	f.StringVar(&a.familyID, "family-id", "", "FAMILY_ID, 32 hex digits")
	f.StringVar(&a.imageID, "image-id", "", "IMAGE_ID, 32 hex digits")
	f.StringVar(&a.reportID, "report-id", "", "REPORT_ID, 64 hex digits")
	f.StringVar(&a.reportIDMA, "report-id-ma", "", "REPORT_ID_MA, 64 hex digits")
	f.StringArrayVar(&a.idKeys, "id-key", nil, "digest of an ID key you accept, 96 hex digits, repeatable")
	f.StringArrayVar(&a.authorKeys, "author-key", nil, "digest of an author key you accept, 96 hex digits, repeatable")
	f.BoolVar(&a.idBlock, "require-id-block", false, "refuse guests launched without an ID block")
}

func (a *attestVerify) identityFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&a.identity, "identity", "", "what the evidence must be of: container, or pod if either will do")
	f.StringArrayVar(&a.entries, "entry", nil, "policy entry that the container must be, by name, id or position, repeatable")
	f.BoolVar(&a.eventLog, "require-event-log", false, "refuse evidence without the event log whose head it binds")
}

// asked says whether a flag was given, with whatever value.
func (a *attestVerify) asked(flag string) bool { return a.cmd.Flags().Changed(flag) }

// asVerifyUsage gives errors of usage this command's own exit code: 2 is a forged signature here.
func asVerifyUsage(cmd *cobra.Command, err error) error {
	var exit *exitError
	if err == nil || errors.As(err, &exit) {
		return err
	}
	//lint:ignore ST1005 it ends in the line that main adds to usage errors
	return &exitError{code: exitVerifyUsage, err: fmt.Errorf("%w\nRun '%s --help' for usage.", err, cmd.CommandPath())}
}

// unreadable is a file that the user named and that cannot be used. It is usage and no verdict.
func unreadable(err error) error { return &exitError{code: exitVerifyUsage, err: err} }

func (a *attestVerify) run(cmd *cobra.Command) error {
	if err := noEmptyFlags(cmd); err != nil {
		return err
	}
	exp, err := a.expectations()
	if err != nil {
		return err
	}
	verifier, err := a.verifier()
	if err != nil {
		return err
	}
	in, err := a.read(cmd)
	if err != nil {
		return err
	}
	out, err := a.judge(in, verifier, exp)
	if err != nil {
		return err
	}
	if err := a.print(cmd.OutOrStdout(), out); err != nil {
		return unreadable(err)
	}
	if out.verdict.OK {
		return nil
	}
	var names []string
	for _, c := range out.verdict.Failed() {
		names = append(names, fmt.Sprintf("%s (%s)", c.Name, c.Code))
	}
	return &exitError{code: out.verdict.ExitCode(), err: errors.New("attest verify: refused: " + strings.Join(names, ", "))}
}

func (a *attestVerify) verifier() (*verify.Verifier, error) {
	roots := verify.AMDRoots()
	if a.roots != "" {
		var err error
		if roots, err = verify.LoadRoots(a.roots); err != nil {
			return nil, unreadable(err)
		}
	}
	return verify.New(roots, verify.Options{})
}
