/** What the reasons of gaps mean. */

const REASONS: Record<string, { label: string; explanation: string }> = {
  pending: { label: "being fetched", explanation: "The service is fetching these candles." },
  offline: { label: "cannot be fetched now", explanation: "No collector can fetch these candles now." },
  unavailable: { label: "not provided", explanation: "The exchange does not provide these candles." },
  invalid: { label: "invalid", explanation: "The exchange provides only implausible candles." },
  off_grid: {
    label: "off the grid",
    explanation: "The exchange provides only candles whose open times do not fit the interval.",
  },
};

export function gapLabel(reason: string): string {
  return REASONS[reason]?.label ?? reason;
}

export function gapExplanation(reason: string): string {
  return REASONS[reason]?.explanation ?? reason;
}
