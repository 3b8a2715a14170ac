// Package pod turns a Kubernetes Pod document and the images it names into the containers a utility VM is asked to run.
//
// It runs where the workload's owner writes the policy and where the host starts the pod: both must come to the same
// arguments, environment, user, capabilities and mounts, or an honest request is refused. What Kubernetes, kubelet and
// containerd 2 would do to a container is therefore done here once, as pure functions of the document and the image.
//
// Nothing here is trusted by the guest: the agent judges the request this package makes like any other. What the package
// does owe is honesty towards the owner, so it fails closed on the document: a field it does not carry into the VM is
// refused by its path, never dropped, and image blobs are taken only if they have the digest that names them.
package pod
