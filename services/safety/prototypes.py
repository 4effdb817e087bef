"""Sentences that stand for kinds of toxic and harmless writing; texts are compared with them by their embeddings.

Each toxic sentence is a mild example of a category: insult, contempt for a group, threat, wish of harm, sexual insult,
dehumanising, slander. The harmless ones cover everyday writing, strong but harmless language and disagreement among them.
"""

TOXIC = (
    "You are a stupid, worthless idiot.",
    "Shut up, you moron.",
    "Go to hell, you disgusting pig.",
    "He is an ugly, pathetic loser.",
    "Nobody wants somebody as fat as you.",
    "She is a dirty slut.",
    "These people are disgusting and should be ashamed.",
    "I hate them all; they are scum.",
    "They are animals and should go back to where they came from.",
    "Their race is inferior and lazy.",
    "People of that religion are all terrorists.",
    "Gay people are sick and unnatural.",
    "I hope you die.",
    "I will hurt you and your family.",
    "What a bunch of corrupt liars and traitors.",
    "Only a brain-dead fool would believe this garbage.",
)
HARMLESS = (
    "Thank you, this was really helpful.",
    "Here is how to solve the problem.",
    "The article explains the history of the city.",
    "This recipe takes about thirty minutes.",
    "Can you tell me where to find more information?",
    "I think the new version works better than the old one.",
    "I disagree, but I see your point.",
    "In my opinion the second season was a bit boring.",
    "I am sad that the show has ended.",
    "I damn well enjoyed that film.",
    "That scared me so much, holy cow.",
    "That game was amazing, what a great match.",
    "I love this song, it is beautiful.",
    "My dog is so cute and funny.",
    "Congratulations, you did a wonderful job.",
    "The weather is nice today.",
)
