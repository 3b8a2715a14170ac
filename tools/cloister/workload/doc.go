// Package workload has the types in which every reader of a deployment document (ARM templates, the JSON configurations of
// Azure's tools, virtual-node YAML) tells the policy generator what it found.
//
// A reader resolves everything the document itself can resolve and looks at no image. What it does not understand it refuses
// by its path: a field that was dropped in silence is a hole in a policy, or a container that does not start. Each value
// keeps its origin, so that a policy can be explained line by line.
package workload
