package defaults

// Defaults is what the platform adds to each container.
type Defaults struct {
	Name    string `json:"name"`
	Version int    `json:"version"`
}
