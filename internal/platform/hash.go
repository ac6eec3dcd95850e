package platform

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

// hash tells one definition from another. json.Marshal sorts the keys of maps.
func hash(d Definition) string {
	data, _ := json.Marshal(d) // strings and numbers always marshal
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}
