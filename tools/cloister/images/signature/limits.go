package signature

// Bounds on what a stranger may make us read or compute, in bytes or pieces.
const (
	maxManifest   = 1 << 20   // of a manifest of signatures
	maxPayload    = 64 << 10  // of a simple-signing payload
	maxAnnotation = 256 << 10 // of a signature, certificate, chain or log entry in an annotation
	maxBundle     = 8 << 20   // of a Sigstore bundle
	maxEnvelope   = 1 << 20   // of a Notary Project envelope
	maxTotal      = 64 << 20  // of all of them, for one image
	maxReferrers  = 1000      // manifests that refer to an image
	maxSignatures = 256       // of one image, or in one bundle of the user's
	maxChain      = 16        // certificates that come with a signature
	maxTrustFile  = 4 << 20   // of a file that the user trusts
	maxTrustFiles = 256       // in a directory of them
)
