// Package confcomjson reads the JSON configurations of Azure's policy tool.
package confcomjson
