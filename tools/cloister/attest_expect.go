package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/cloister-cc/cloister/snp"
	"github.com/cloister-cc/cloister/snp/measure"
	"github.com/cloister-cc/cloister/snp/verify"
)

// expectations are what the flags ask for, but for what depends on the evidence: see attestVerify.bind.
func (a *attestVerify) expectations() (verify.Expectations, error) {
	exp := verify.Expectations{
		Now: time.Now(), VMPL: &a.vmpl, GuestPolicy: &verify.PolicyLimit{SMT: !a.noSMT, CXL: a.cxl},
		RefuseProvisional: a.committed, RequireIDBlock: a.idBlock, AllowMaskedChipID: a.masked, RequireEventLog: a.eventLog,
		Products: a.products, CSPs: a.csps, Signer: verify.Signer(a.signer), Identity: verify.Identity(a.identity),
	}
	if a.crlRequired {
		exp.CRL = verify.CRLRequired
	}
	for _, step := range []func(*verify.Expectations) error{a.times, a.digests, a.versions, a.lists, a.endorsed, a.measured} {
		if err := step(&exp); err != nil {
			return exp, err
		}
	}
	return exp, nil
}

// times reads --now, and checks what goes together.
func (a *attestVerify) times(exp *verify.Expectations) error {
	if a.vmpl > 3 {
		return fmt.Errorf("--vmpl: got %d, want 0 to 3", a.vmpl)
	}
	if n := given(a.policy, a.initdata, a.hostData); n > 1 {
		return errors.New("attest verify: want at most one of --policy, --initdata and --host-data")
	}
	if n := given(a.nonce, a.runtimeData); n > 1 {
		return errors.New("attest verify: want at most one of --nonce and --runtime-data")
	}
	if a.asked("report-data") && len(a.data) != hexReportData && given(a.nonce, a.runtimeData) == 0 {
		return fmt.Errorf("--report-data %.32s: says how REPORT_DATA is made, and not of what: give --nonce or --runtime-data", a.data)
	}
	if a.identity != "" && a.identity != string(verify.IdentityContainer) && a.identity != string(verify.IdentityPod) {
		return fmt.Errorf("--identity: got %.32q, want container or pod", a.identity)
	}
	if a.now == "" {
		return nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, a.now); err == nil {
			exp.Now = t
			return nil
		}
	}
	return fmt.Errorf("--now: got %.64q, want RFC 3339 (%s) or a date", a.now, time.RFC3339)
}

func given(texts ...string) (n int) {
	for _, t := range texts {
		if t != "" {
			n++
		}
	}
	return n
}

// parseHex fills to, whose length is the one wanted. to is nil for a flag that was not given.
func parseHex(flag, text string, to []byte) error {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(to) {
		return fmt.Errorf("--%s: got %.140q, want %d hex digits", flag, text, 2*len(to))
	}
	copy(to, b)
	return nil
}

// digests reads the flags that are one value in hex, or several of a kind.
func (a *attestVerify) digests(exp *verify.Expectations) (err error) {
	one := func(flag, text string, to []byte) {
		if err == nil {
			err = parseHex(flag, text, to)
		}
	}
	if a.hostData != "" {
		exp.HostData = new([32]byte)
		one("host-data", a.hostData, exp.HostData[:])
	}
	if a.familyID != "" {
		exp.FamilyID = new([16]byte)
		one("family-id", a.familyID, exp.FamilyID[:])
	}
	if a.imageID != "" {
		exp.ImageID = new([16]byte)
		one("image-id", a.imageID, exp.ImageID[:])
	}
	if a.reportID != "" {
		exp.ReportID = new([32]byte)
		one("report-id", a.reportID, exp.ReportID[:])
	}
	if a.reportIDMA != "" {
		exp.ReportIDMA = new([32]byte)
		one("report-id-ma", a.reportIDMA, exp.ReportIDMA[:])
	}
	for _, text := range a.idKeys {
		var d [48]byte
		one("id-key", text, d[:])
		exp.IDKeyDigests = append(exp.IDKeyDigests, d)
	}
	for _, text := range a.authorKeys {
		var d [48]byte
		one("author-key", text, d[:])
		exp.AuthorKeyDigests = append(exp.AuthorKeyDigests, d)
	}
	for _, text := range a.chips {
		var id [64]byte
		to := id[:]
		if len(text) == 16 { // Turin uses eight bytes of the field
			to = id[:8]
		}
		one("chip-id", text, to)
		exp.ChipIDs = append(exp.ChipIDs, id)
	}
	return err
}

// versions reads the floors. A flag given as zero is asked for like any other.
func (a *attestVerify) versions(exp *verify.Expectations) (err error) {
	asked := a.asked
	if asked("min-guest-svn") {
		exp.MinGuestSVN = &a.guestSVN
	}
	if asked("min-version") {
		exp.MinVersion = &a.minVersion
	}
	if asked("launch-mitigation") || asked("current-mitigation") {
		exp.MinMitigation = &verify.Mitigation{}
		if asked("launch-mitigation") {
			exp.MinMitigation.Launch = &a.launchMitigation
		}
		if asked("current-mitigation") {
			exp.MinMitigation.Current = &a.currentMitigation
		}
	}
	if a.minTCB != "" {
		if exp.MinTCB, err = parseTCB("min-tcb", a.minTCB); err != nil {
			return err
		}
	}
	if a.minLaunchTCB != "" {
		if exp.MinLaunchTCB, err = parseTCB("min-launch-tcb", a.minLaunchTCB); err != nil {
			return err
		}
	}
	if a.minFirmware != "" {
		n, err := byteNumbers(a.minFirmware, ".", 3, 3)
		if err != nil {
			return fmt.Errorf("--min-firmware: got %.64q, want MAJOR.MINOR.BUILD", a.minFirmware)
		}
		exp.MinFirmware = &snp.Firmware{Major: n[0], Minor: n[1], Build: n[2]}
	}
	return nil
}

// byteNumbers reads least to most numbers of one byte.
func byteNumbers(text, separator string, least, most int) ([]uint8, error) {
	var out []uint8
	for part := range strings.SplitSeq(text, separator) {
		n, err := strconv.ParseUint(part, 10, 8)
		if err != nil {
			return nil, err
		}
		out = append(out, uint8(n))
	}
	if len(out) < least || len(out) > most {
		return nil, fmt.Errorf("got %d numbers, want %d to %d", len(out), least, most)
	}
	return out, nil
}

func parseTCB(flag, text string) (*snp.TCBParts, error) {
	n, err := byteNumbers(text, ",", 4, 5)
	if err != nil {
		return nil, fmt.Errorf("--%s: got %.64q, want BOOTLOADER,TEE,SNP,MICROCODE[,FMC], each 0 to 255", flag, text)
	}
	p := &snp.TCBParts{BootLoader: n[0], TEE: n[1], SNP: n[2], Microcode: n[3]}
	if len(n) == 5 {
		p.FMC = n[4]
	}
	return p, nil
}

// word is a member of a flag that takes a list of words.
type word[T any] struct {
	name string
	set  func(*T)
}

var promiseWords = []word[verify.PolicyLimit]{
	{"single-socket", func(l *verify.PolicyLimit) { l.SingleSocket = true }},
	{"aes256-xts", func(l *verify.PolicyLimit) { l.AES256XTS = true }},
	{"rapl-disabled", func(l *verify.PolicyLimit) { l.RAPLDisabled = true }},
	{"ciphertext-hiding", func(l *verify.PolicyLimit) { l.CiphertextHiding = true }},
	{"page-swap-disabled", func(l *verify.PolicyLimit) { l.PageSwapDisabled = true }},
}

var platformWords = []word[verify.PlatformLimit]{
	{"no-smt", func(l *verify.PlatformLimit) { l.SMT = false }},
	{"no-tio", func(l *verify.PlatformLimit) { l.TIO = false }},
	{"tsme", func(l *verify.PlatformLimit) { l.TSME = true }},
	{"ecc", func(l *verify.PlatformLimit) { l.ECC = true }},
	{"rapl-disabled", func(l *verify.PlatformLimit) { l.RAPLDisabled = true }},
	{"ciphertext-hiding", func(l *verify.PlatformLimit) { l.CiphertextHiding = true }},
	{"alias-check", func(l *verify.PlatformLimit) { l.AliasCheck = true }},
}

func promiseNames() string  { return wordNames(promiseWords) }
func platformNames() string { return wordNames(platformWords) }

func wordNames[T any](words []word[T]) string {
	var names []string
	for _, w := range words {
		names = append(names, w.name)
	}
	return strings.Join(names, ", ")
}

func setWord[T any](words []word[T], name string, to *T) bool {
	for _, w := range words {
		if w.name == name {
			w.set(to)
			return true
		}
	}
	return false
}

// lists reads the flags that are lists of words.
func (a *attestVerify) lists(exp *verify.Expectations) error {
	for _, name := range a.promises {
		if version, ok := strings.CutPrefix(name, "abi="); ok {
			n, err := byteNumbers(version, ".", 2, 2)
			if err != nil {
				return fmt.Errorf("--guest-policy: got %.64q, want abi=MAJOR.MINOR", name)
			}
			exp.GuestPolicy.MinABI = &verify.ABI{Major: n[0], Minor: n[1]}
			continue
		}
		if !setWord(promiseWords, name, exp.GuestPolicy) {
			return fmt.Errorf("--guest-policy: got %.64q, want %s or abi=MAJOR.MINOR", name, promiseNames())
		}
	}
	if a.signer != "" && exp.Signer != verify.SignerVCEK && exp.Signer != verify.SignerVLEK {
		return fmt.Errorf("--signer: got %.32q, want vcek or vlek", a.signer)
	}
	for _, name := range a.products {
		if _, err := snp.ProductNamed(name); err != nil {
			return fmt.Errorf("--product: got %.32q, want Milan, Genoa, Siena, Bergamo, Turin or Turin-Dense", name)
		}
	}
	if len(a.platform) == 0 {
		return nil
	}
	exp.PlatformInfo = &verify.PlatformLimit{SMT: true, TIO: true}
	for _, name := range a.platform {
		if !setWord(platformWords, name, exp.PlatformInfo) {
			return fmt.Errorf("--platform: got %.64q, want %s", name, platformNames())
		}
	}
	return nil
}

// endorsed reads whose endorsement counts. An endorsement of nobody in particular proves nothing.
func (a *attestVerify) endorsed(exp *verify.Expectations) error {
	switch {
	case len(a.issuers) == 0 && (a.endorsement != "" || a.feed != "" || a.asked("min-svn")):
		return errors.New("attest verify: no issuer given whose endorsement counts (--endorsement-issuer DID): anybody can sign one")
	case len(a.issuers) == 0:
		return nil
	case a.feed == "":
		return errors.New("attest verify: --endorsement-issuer needs --feed: an issuer endorses other things too")
	}
	exp.Endorsement = &verify.EndorsementPolicy{Issuers: a.issuers, Feed: a.feed, MinSVN: a.endorsedSVN}
	return nil
}

// measured sets the measurements accepted.
func (a *attestVerify) measured(exp *verify.Expectations) error {
	for _, text := range a.measurements {
		switch {
		case text == "any" && (len(a.measurements) > 1 || a.guest != ""):
			return errors.New("--measurement any: contradicts --guest and other measurements")
		case text == "any":
			return nil // not asked, and shown as that
		}
		d, err := measure.ParseDigest(text)
		if err != nil {
			return fmt.Errorf("--measurement: %w", err)
		}
		exp.Measurements = append(exp.Measurements, d)
	}
	dir := a.guest
	if dir == "" && exp.Measurements == nil && exp.Endorsement == nil {
		dir = os.Getenv(guestEnv)
	}
	if dir == "" {
		return nil
	}
	image, err := readAcceptedImage(dir)
	if err != nil {
		return unreadable(err)
	}
	a.image = image
	exp.Measurements = append(exp.Measurements, image.launch...)
	return nil
}
