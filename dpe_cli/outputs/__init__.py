"""Output for other programs: JUnit XML, SARIF, webhooks."""
