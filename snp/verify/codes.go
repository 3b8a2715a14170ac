package verify

import "fmt"

// Class groups checks by what a failure means to whoever called. Its number is the exit code of "cloister attest verify".
type Class int

// The classes, in the order in which they decide an exit code.
const (
	ClassSignature  Class = 2 // the evidence is not what a processor of the pinned root made
	ClassMissing    Class = 3 // something that is needed to judge is not there
	ClassRevocation Class = 4 // a certificate is revoked, or nobody can tell
	ClassPolicy     Class = 5 // the evidence is genuine and says something else than was wanted
)

var classNames = map[Class]string{ClassSignature: "signature", ClassMissing: "missing", ClassRevocation: "revocation", ClassPolicy: "policy"}

func (c Class) String() string {
	if name, ok := classNames[c]; ok {
		return name
	}
	return fmt.Sprintf("class %d", int(c))
}

// MarshalText writes the class by name.
func (c Class) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads a class's name.
func (c *Class) UnmarshalText(text []byte) error {
	for class, name := range classNames {
		if name == string(text) {
			*c = class
			return nil
		}
	}
	return fmt.Errorf("class %.32q: want signature, missing, revocation or policy", text)
}

// CodeInfo describes one check. Code never changes its meaning; Name is its row in a verdict.
type CodeInfo struct {
	Name    string `json:"name"`
	Code    string `json:"code"`
	Class   Class  `json:"class"`
	Meaning string `json:"meaning"` // what is right when the check passes
}

// Codes lists every check, in the order of a verdict's rows.
func Codes() []CodeInfo {
	out := make([]CodeInfo, numChecks)
	copy(out, codes[:])
	return out
}

// checkID is a check's place in a verdict.
type checkID int

// The checks. Those up to checkReportedTCB's group are about the evidence itself and are always made.
const (
	checkReport checkID = iota
	checkReserved
	checkAlgorithm
	checkTable
	checkCertificate
	checkSigner
	checkChain
	checkRootLine
	checkValidity
	checkSignature
	checkProduct
	checkChipID
	checkTCBForm
	checkReportedTCB
	checkTCBOrder

	checkCertificates

	checkCRL
	checkCRLSignature
	checkCRLTime
	checkRevocation

	checkVMPL
	checkPolicyReserved
	checkPolicyDebug
	checkPolicyMigration
	checkPolicySMT
	checkPolicyCXL
	checkPolicySingleSocket
	checkPolicyAES256
	checkPolicyRAPL
	checkPolicyCiphertext
	checkPolicyPageSwap
	checkPolicyABI
	checkPlatformReserved
	checkPlatformSMT
	checkPlatformTIO
	checkPlatformTSME
	checkPlatformECC
	checkPlatformRAPL
	checkPlatformCiphertext
	checkPlatformAlias
	checkReportData
	checkHostData
	checkMeasurement
	checkGuestSVN
	checkFamilyID
	checkImageID
	checkReportID
	checkReportIDMA
	checkIDBlock
	checkIDKey
	checkAuthorKey
	checkChipAllowed
	checkProductAllowed
	checkSignerAllowed
	checkCSPAllowed
	checkMinVersion
	checkFirmware
	checkProvisional
	checkMinTCB
	checkMinLaunchTCB
	checkLaunchMitigation
	checkCurrentMitigation

	checkEndorsement
	checkEndorsementSignature
	checkEndorsementIssuer
	checkEndorsementFeed
	checkEndorsementSVN
	checkEndorsementMeasurement

	checkPreimage
	checkPreimageHash
	checkPreimagePolicy
	checkPreimageNonce
	checkPreimageEntries
	checkEventLog
	checkIdentity

	numChecks
)

var codes = [numChecks]CodeInfo{
	checkReport:      {"report", "CLS201", ClassSignature, "the report has 1184 bytes and version 2 to 5"},
	checkReserved:    {"reserved", "CLS202", ClassSignature, "bytes and bits without a meaning in the report's version are zero"},
	checkAlgorithm:   {"algorithm", "CLS203", ClassSignature, "the signature algorithm is ECDSA P-384 with SHA-384"},
	checkTable:       {"certificate_table", "CLS204", ClassSignature, "the host's certificate table is well formed and names no kind twice"},
	checkCertificate: {"certificate", "CLS205", ClassSignature, "the endorsement key's certificate has AMD's form: P-384, no authority, each extension once"},
	checkSigner:      {"signer", "CLS206", ClassSignature, "the report names VCEK or VLEK and the certificate is of that kind"},
	checkChain:       {"chain", "CLS207", ClassSignature, "every certificate at hand leads to a pinned root by RSA-4096 PSS with SHA-384"},
	checkRootLine:    {"root_line", "CLS208", ClassSignature, "root and intermediate are those of the certificate's product line and kind"},
	checkValidity:    {"validity", "CLS209", ClassSignature, "every certificate of the chain is valid at the time given"},
	checkSignature:   {"signature", "CLS210", ClassSignature, "the certificate's key signed the report"},
	checkProduct:     {"product", "CLS211", ClassSignature, "the report's processor is of the certificate's product line"},
	checkChipID:      {"chip_id", "CLS212", ClassSignature, "CHIP_ID is the VCEK's hardware id; masked only where that was allowed"},
	checkTCBForm:     {"tcb_form", "CLS213", ClassSignature, "the four TCBs have no bytes outside the product line's layout"},
	checkReportedTCB: {"reported_tcb", "CLS214", ClassSignature, "REPORTED_TCB is exactly what the certificate was issued for"},
	checkTCBOrder:    {"tcb_order", "CLS215", ClassSignature, "neither REPORTED_TCB nor COMMITTED_TCB is newer than CURRENT_TCB"},

	checkCertificates: {"certificates", "CLS301", ClassMissing, "the endorsement key's certificate and the intermediate that issued it are at hand"},

	checkCRL:          {"crl", "CLS401", ClassRevocation, "a revocation list of the chain's root is at hand"},
	checkCRLSignature: {"crl_signature", "CLS402", ClassRevocation, "every revocation list of that root is signed by it"},
	checkCRLTime:      {"crl_time", "CLS403", ClassRevocation, "one of them is current at the time given"},
	checkRevocation:   {"revocation", "CLS404", ClassRevocation, "none of them lists a certificate of the chain"},

	checkVMPL:               {"vmpl", "CLS501", ClassPolicy, "the report was asked for at the privilege level wanted, never by the host"},
	checkPolicyReserved:     {"policy_reserved", "CLS502", ClassPolicy, "guest policy: bit 17 set, no bit without a meaning in the report's version"},
	checkPolicyDebug:        {"policy_debug", "CLS503", ClassPolicy, "guest policy: no debugging"},
	checkPolicyMigration:    {"policy_migration", "CLS504", ClassPolicy, "guest policy: no migration agent"},
	checkPolicySMT:          {"policy_smt", "CLS505", ClassPolicy, "guest policy: SMT only where allowed"},
	checkPolicyCXL:          {"policy_cxl", "CLS506", ClassPolicy, "guest policy: CXL only where allowed"},
	checkPolicySingleSocket: {"policy_single_socket", "CLS507", ClassPolicy, "guest policy: one socket"},
	checkPolicyAES256:       {"policy_aes256_xts", "CLS508", ClassPolicy, "guest policy: AES-256-XTS"},
	checkPolicyRAPL:         {"policy_rapl_disabled", "CLS509", ClassPolicy, "guest policy: no power readings"},
	checkPolicyCiphertext:   {"policy_ciphertext_hiding", "CLS510", ClassPolicy, "guest policy: ciphertext hiding in DRAM"},
	checkPolicyPageSwap:     {"policy_page_swap_disabled", "CLS511", ClassPolicy, "guest policy: no moving or swapping of pages"},
	checkPolicyABI:          {"policy_abi", "CLS512", ClassPolicy, "guest policy: oldest firmware interface allowed is not too old"},
	checkPlatformReserved:   {"platform_reserved", "CLS520", ClassPolicy, "platform information: no bit without a meaning in the report's version"},
	checkPlatformSMT:        {"platform_smt", "CLS521", ClassPolicy, "platform information: SMT only where allowed"},
	checkPlatformTIO:        {"platform_tio", "CLS522", ClassPolicy, "platform information: trusted devices only where allowed"},
	checkPlatformTSME:       {"platform_tsme", "CLS523", ClassPolicy, "platform information: all memory encrypted"},
	checkPlatformECC:        {"platform_ecc", "CLS524", ClassPolicy, "platform information: error-correcting memory"},
	checkPlatformRAPL:       {"platform_rapl_disabled", "CLS525", ClassPolicy, "platform information: no power readings"},
	checkPlatformCiphertext: {"platform_ciphertext_hiding", "CLS526", ClassPolicy, "platform information: ciphertext hiding in DRAM"},
	checkPlatformAlias:      {"platform_alias_check", "CLS527", ClassPolicy, "platform information: memory was searched for aliases"},
	checkReportData:         {"report_data", "CLS530", ClassPolicy, "REPORT_DATA is what was wanted"},
	checkHostData:           {"host_data", "CLS531", ClassPolicy, "HOST_DATA is what was wanted"},
	checkMeasurement:        {"measurement", "CLS532", ClassPolicy, "MEASUREMENT is among those wanted"},
	checkGuestSVN:           {"guest_svn", "CLS533", ClassPolicy, "GUEST_SVN is not too old"},
	checkFamilyID:           {"family_id", "CLS534", ClassPolicy, "FAMILY_ID is what was wanted"},
	checkImageID:            {"image_id", "CLS535", ClassPolicy, "IMAGE_ID is what was wanted"},
	checkReportID:           {"report_id", "CLS536", ClassPolicy, "REPORT_ID is what was wanted"},
	checkReportIDMA:         {"report_id_ma", "CLS537", ClassPolicy, "REPORT_ID_MA is what was wanted"},
	checkIDBlock:            {"id_block", "CLS538", ClassPolicy, "the guest was launched with an ID block"},
	checkIDKey:              {"id_key", "CLS539", ClassPolicy, "the ID key's digest is among those wanted"},
	checkAuthorKey:          {"author_key", "CLS540", ClassPolicy, "an author key was given and its digest is among those wanted"},
	checkChipAllowed:        {"chip_allowed", "CLS541", ClassPolicy, "CHIP_ID is among those wanted"},
	checkProductAllowed:     {"product_allowed", "CLS542", ClassPolicy, "the product is among those wanted"},
	checkSignerAllowed:      {"signer_allowed", "CLS543", ClassPolicy, "the signer is of the kind wanted"},
	checkCSPAllowed:         {"csp_allowed", "CLS544", ClassPolicy, "the VLEK's cloud provider is among those wanted"},
	checkMinVersion:         {"min_version", "CLS545", ClassPolicy, "the report's version is not too old"},
	checkFirmware:           {"firmware", "CLS546", ClassPolicy, "the current and the committed firmware are not too old"},
	checkProvisional:        {"provisional", "CLS547", ClassPolicy, "the firmware is committed: it cannot be rolled back"},
	checkMinTCB:             {"min_tcb", "CLS548", ClassPolicy, "no part of REPORTED_TCB is too old"},
	checkMinLaunchTCB:       {"min_launch_tcb", "CLS549", ClassPolicy, "no part of LAUNCH_TCB is too old"},
	checkLaunchMitigation:   {"launch_mitigation", "CLS550", ClassPolicy, "the mitigations wanted were in force at launch"},
	checkCurrentMitigation:  {"current_mitigation", "CLS551", ClassPolicy, "the mitigations wanted are in force"},

	checkEndorsement:            {"endorsement", "CLS302", ClassMissing, "an endorsement of the measurement is at hand"},
	checkEndorsementSignature:   {"endorsement_signature", "CLS220", ClassSignature, "the endorsement is signed by its chain, which was valid when it signed"},
	checkEndorsementIssuer:      {"endorsement_issuer", "CLS560", ClassPolicy, "the endorsement's did:x509 issuer is among those wanted and fits its chain"},
	checkEndorsementFeed:        {"endorsement_feed", "CLS561", ClassPolicy, "the endorsement's feed is the one wanted"},
	checkEndorsementSVN:         {"endorsement_svn", "CLS562", ClassPolicy, "the endorsed version is not too old"},
	checkEndorsementMeasurement: {"endorsement_measurement", "CLS563", ClassPolicy, "the endorsement is of this report's MEASUREMENT"},

	checkPreimage:        {"preimage", "CLS303", ClassMissing, "the preimage of REPORT_DATA is at hand"},
	checkPreimageHash:    {"preimage_hash", "CLS570", ClassPolicy, "the preimage is well formed and REPORT_DATA is its SHA-512"},
	checkPreimagePolicy:  {"preimage_policy", "CLS571", ClassPolicy, "the preimage names the policy that HOST_DATA binds"},
	checkPreimageNonce:   {"preimage_nonce", "CLS572", ClassPolicy, "the preimage holds the nonce wanted"},
	checkPreimageEntries: {"preimage_entries", "CLS574", ClassPolicy, "the policy has the entries that the preimage names, with its layers and arguments"},
	checkEventLog:        {"event_log", "CLS573", ClassPolicy, "the event log replays to the head that the preimage holds"},
	checkIdentity:        {"identity", "CLS575", ClassPolicy, "the evidence is of one container, where that was wanted"},
}
