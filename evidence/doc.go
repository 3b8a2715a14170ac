// Package evidence holds identity evidence against the policy it was made under: which entries of the policy a container can be, and whether the evidence
// speaks of one container or only of the pod.
//
// It is a package of its own because it is the one place that knows both sides: packages snp and snp/verify judge reports and know no policy language, package enforcer
// judges requests and knows no reports. Relying parties written in Go use it through verify.Expectations (ContainerIdentity and PolicyEntries), as
// "cloister attest verify" does.
//
// Trusted: the policy's text, if HOST_DATA of a verified report binds it; nothing is asked here before that is known. Not trusted: the preimage. An agent made it or,
// where something else in the guest reaches the report device, whoever got a report over its hash.
//
// Fails closed: a policy that is not plain data and delegation is never read as one that gives a container's identity, nor has it any entries.
package evidence
