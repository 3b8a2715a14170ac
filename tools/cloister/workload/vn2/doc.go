// Package vn2 reads Kubernetes documents written for ACI's virtual nodes: every kind that starts pods, with the ConfigMaps
// and Secrets that stand in the same file.
//
// The values are what a kubelet would make of them: references to variables are expanded, envFrom is resolved, security
// contexts are inherited. What only the cluster knows (fields of the running pod, a ConfigMap that is not in the file) is a
// wildcard that somebody has to agree to; what is not understood is an error naming its path. What the platform adds by
// itself (its own mounts and variables) is not reported here: that is the generator's data.
//
// Insert writes a policy into the pod's annotation and changes no other byte.
package vn2
