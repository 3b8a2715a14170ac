// Package vn2 reads Kubernetes documents written for ACI's virtual nodes.
package vn2
