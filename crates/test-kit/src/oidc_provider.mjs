// The OpenID provider of the tests: `oidc-provider` with its own forms for logging in and agreeing, which take any
// password. The one argument is its configuration as JSON; see oidc_provider.rs.
import { Provider } from 'oidc-provider';

const { issuer, port, client, accounts } = JSON.parse(process.argv[2]);

const provider = new Provider(issuer, {
  clients: [{ ...client, response_types: ['code'], grant_types: ['authorization_code'] }],
  claims: {
    openid: ['sub'],
    profile: ['preferred_username', 'name'],
    email: ['email', 'email_verified'],
    groups: ['groups'],
  },
  scopes: ['openid', 'profile', 'email', 'groups'],
  pkce: { required: () => true },
  cookies: { keys: ['of the tests'] },
  features: { backchannelLogout: { enabled: true } },
  // Without its dispatcher, which speaks to no loopback address: that is where the tests are.
  fetch: (url, { dispatcher, ...options }) => globalThis.fetch(url, options),
  async findAccount(_context, id) {
    if (!(id in accounts)) return undefined;
    return { accountId: id, claims: async () => ({ sub: id, ...accounts[id] }) };
  },
});

provider.listen(port, '127.0.0.1', () => console.log('ready'));
