// Package confcomjson reads the JSON configurations of Azure's policy tool: the present form (containers with properties, as
// in a deployment template) and the older one (containerImage, mounts, allow_elevated).
//
// Names of members are the same whatever their case. A member that is not understood is an error naming its path.
package confcomjson
