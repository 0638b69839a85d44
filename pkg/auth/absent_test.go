package auth

import (
	"testing"

	"github.com/alexedwards/argon2id"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAnAbsentAccountCostsAsMuchAsAnyOther(t *testing.T) {
	t.Parallel()
	absent, _, _, err := argon2id.DecodeHash(absentHash)
	require.NoError(t, err)
	assert.Equal(t, params, absent)
	require.NoError(t, NewPasswords(1).CheckAbsent(t.Context(), "whatever it is"))
}
