// Package fit reads what a pod's policy lists and fits a container's specification to it: a mount's source becomes the name that the policy's rule with the same
// destination has for it; what kubelet and containerd add by themselves and the policy does not list is left out, each with a note. Everything else stays as it is, so
// that the agent's refusal names it.
//
// It never adds a right: the agent judges what arrives, and trusts nothing of this. The policy's text is a pod's annotation, so reading it is bounded; a policy that is
// not plain lists in the dialect of ACI is not guessed at, and fits nothing. The package has a reader of its own because the policy engine is no part of a shim.
package fit
